-- wrk script: POSTs valid orders of varied content over keep-alive connections and ends with one
-- line of JSON on stdout. Requests are made before the clock starts: on a machine that the load
-- generator shares with the server, work done here would be measured there.
local REQUESTS = 16384

local requests = {}
local next_request = 0
local threads = {}

function setup(thread)
    table.insert(threads, thread)
    thread:set("thread_number", #threads)
end

function init(args)
    math.randomseed(thread_number)
    local hex = function() return string.format("%08x%08x", math.random(0, 0x7fffffff), math.random(0, 0x7fffffff)) end
    for i = 1, REQUESTS do
        local body = string.format(
            '{"order_id":"o-%s%s","user_id":"u-%s","product_id":"prod-%d","amount":%d.%02d,"timestamp":%d000}',
            hex(), hex(), hex(), math.random(1, 5), math.random(10, 499), math.random(0, 99), os.time())
        requests[i] = wrk.format("POST", nil, {["Content-Type"] = "application/json"}, body)
    end
end

function request()
    next_request = next_request % REQUESTS + 1
    return requests[next_request]
end

-- Every answer has to be a 201; anything else is counted.
others = 0
function response(status)
    if status ~= 201 then
        others = others + 1
    end
end

function done(summary, latency)
    local not_created = 0
    for _, thread in ipairs(threads) do
        not_created = not_created + thread:get("others")
    end
    local e = summary.errors
    io.write(string.format(
        '{"requests":%d,"seconds":%.6f,"not_created":%d,"socket_errors":%d,"p50_ms":%.3f,"p90_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f}\n',
        summary.requests, summary.duration / 1e6, not_created, e.connect + e.read + e.write + e.timeout,
        latency:percentile(50) / 1000, latency:percentile(90) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
