-- wrk asks the lines of a file, one after the other, and tells what it found as one line of JSON.
-- Called as: wrk ... -s wrk.lua URL -- FILE

local requests, at = {}, 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, {["content-type"] = "application/json"}, line)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    '\n{"requests": %d, "failures": %d, "seconds": %.6f, "p50": %.6f, "p99": %.6f}\n',
    summary.requests, errors.status + broken, summary.duration / 1e6,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
