-- wrk script: POSTs valid orders of varied content over keep-alive connections and ends with one
-- line of JSON on stdout. Requests are made before the clock starts: on a machine that the load
-- generator shares with the server, work done here would be measured there.
--
--   wrk … -s post.lua URL -- STATUS [EVENTS]
--
-- STATUS    the one right answer; every other is counted
-- EVENTS    orders in a body: 1 (the default) is one JSON object, more are lines of NDJSON, each of
--           200 bytes with its newline and none like another
local ORDERS = 32768
local LINE_BYTES = 200

local requests = {}
local next_request = 0
local threads = {}

function setup(thread)
    table.insert(threads, thread)
    thread:set("thread_number", #threads)
end

local function hex()
    return string.format("%08x%08x", math.random(0, 0x7fffffff), math.random(0, 0x7fffffff))
end

local function order()
    return string.format(
        '{"order_id":"o-%s%s","user_id":"u-%s","product_id":"prod-%d","amount":%d.%02d,"timestamp":%d000',
        hex(), hex(), hex(), math.random(1, 5), math.random(10, 499), math.random(0, 99), os.time())
end

-- A member of random digits fills a line up.
local function line()
    local text = order() .. ',"note":"'
    while #text < LINE_BYTES - 3 do
        text = text .. hex()
    end
    return text:sub(1, LINE_BYTES - 3) .. '"}\n'
end

local function body(events)
    if events == 1 then
        return order() .. '}'
    end
    local lines = {}
    for i = 1, events do
        lines[i] = line()
    end
    return table.concat(lines)
end

function init(args)
    expected = tonumber(args[1])
    local events = tonumber(args[2] or 1)
    local headers = {["Content-Type"] = events == 1 and "application/json" or "application/x-ndjson"}
    math.randomseed(thread_number)
    for i = 1, math.max(8, math.floor(ORDERS / events)) do
        requests[i] = wrk.format("POST", nil, headers, body(events))
    end
end

function request()
    next_request = next_request % #requests + 1
    return requests[next_request]
end

others = 0
function response(status)
    if status ~= expected then
        others = others + 1
    end
end

function done(summary, latency)
    local others = 0
    for _, thread in ipairs(threads) do
        others = others + thread:get("others")
    end
    local e = summary.errors
    io.write(string.format(
        '{"requests":%d,"seconds":%.6f,"other_answers":%d,"socket_errors":%d,"p50_ms":%.3f,"p90_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f}\n',
        summary.requests, summary.duration / 1e6, others, e.connect + e.read + e.write + e.timeout,
        latency:percentile(50) / 1000, latency:percentile(90) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
