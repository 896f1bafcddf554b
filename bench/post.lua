-- wrk script: POSTs valid orders of varied content over keep-alive connections and ends with one
-- line of JSON on stdout. Requests are made before the clock starts: on a machine that the load
-- generator shares with the server, work done here would be measured there.
--
--   wrk … -s post.lua URL -- STATUS [EVENTS [BYTES [PAUSE_MS]]]
--
-- STATUS    the one right answer; every other is counted. 0: answers of 400 and above are, which wrk does by
--           itself, without making a table of each answer's fields for Lua
-- EVENTS    orders in a body: 1 (the default) is one JSON object, more are lines of NDJSON, each of
--           200 bytes with its newline and none like another
-- BYTES     of a body that is one order, filled up by a member; 0 (the default): as they come
-- PAUSE_MS  from an answer to the connection's next request; 0 (the default): none
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

-- An order that a member of random digits fills up.
local function filled(bytes)
    local parts = {order() .. ',"note":"'}
    local size = #parts[1]
    while size < bytes - 2 do
        table.insert(parts, hex())
        size = size + 16
    end
    return table.concat(parts):sub(1, bytes - 2) .. '"}'
end

local function body(events, bytes)
    if events == 1 then
        return bytes > 0 and filled(bytes) or order() .. '}'
    end
    local lines = {}
    for i = 1, events do
        lines[i] = filled(LINE_BYTES - 1) .. '\n'
    end
    return table.concat(lines)
end

function init(args)
    expected = tonumber(args[1])
    local events, bytes, pause_ms = tonumber(args[2] or 1), tonumber(args[3] or 0), tonumber(args[4] or 0)
    local headers = {["Content-Type"] = events == 1 and "application/json" or "application/x-ndjson"}
    math.randomseed(thread_number)
    for i = 1, math.max(8, math.floor(ORDERS / math.max(events, bytes / LINE_BYTES))) do
        requests[i] = wrk.format("POST", nil, headers, body(events, bytes))
    end
    if pause_ms > 0 then    -- wrk asks whether there is one, here and below
        function delay() return pause_ms end
    end
    if expected > 0 then
        function response(status)
            if status ~= expected then
                others = others + 1
            end
        end
    end
end

function request()
    next_request = next_request % #requests + 1
    return requests[next_request]
end

others = 0

function done(summary, latency)
    local e = summary.errors
    local others = 0
    for _, thread in ipairs(threads) do
        others = others + thread:get("others")
    end
    if threads[1]:get("expected") == 0 then
        others = e.status
    end
    io.write(string.format(
        '{"requests":%d,"seconds":%.6f,"other_answers":%d,"socket_errors":%d,"p50_ms":%.3f,"p90_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f}\n',
        summary.requests, summary.duration / 1e6, others, e.connect + e.read + e.write + e.timeout,
        latency:percentile(50) / 1000, latency:percentile(90) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
