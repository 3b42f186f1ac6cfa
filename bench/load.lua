-- Arguments: method, path, expected status, "once" or "-", JSON, "@" and a file of forms, or "-", then user id and token
-- of each caller.
local method, path, expected, once, body
local forms = nil
local callers, turn, sent = {}, 0, 0
local threads = {}
unexpected = 0

function setup(thread)
  table.insert(threads, thread)
end

local function percent_encoded(text)
  return (text:gsub("[^%w]", function(c) return string.format("%%%02X", c:byte()) end))
end

-- A key of the caller: 64 hex digits that no other caller has.
local function key_id(user_id)
  local digits = user_id:gsub(".", function(c) return string.format("%02x", c:byte()) end)
  return (digits .. string.rep("0", 64)):sub(1, 64)
end

function init(arguments)
  method, path, expected, once = arguments[1], arguments[2], tonumber(arguments[3]), arguments[4] == "once"
  body = arguments[5] ~= "-" and arguments[5] or nil
  if body and body:sub(1, 1) == "@" then forms = io.lines(body:sub(2)) end
  for i = 6, #arguments, 2 do
    local headers = { ["Content-Length"] = method == "POST" and not body and "0" or nil }
    if body then headers["Content-Type"] = forms and "application/x-www-form-urlencoded" or "application/json" end
    if arguments[i + 1] ~= "-" then headers["Authorization"] = "Bearer " .. arguments[i + 1] end
    local target = path:gsub("$ID", percent_encoded(arguments[i]):gsub("%%", "%%%%"))
    target = target:gsub("$KEY", key_id(arguments[i]))
    table.insert(callers, { headers = headers, target = target, text = wrk.format(method, target, headers, body) })
  end
  run = string.format("%d-%s", os.time(), tostring({}):gsub("table: ", ""))
end

function request()
  turn = turn % #callers + 1
  local caller = callers[turn]
  -- Once the forms are used up, the empty ones that follow are refused, and the run fails.
  if forms then return wrk.format(method, caller.target, caller.headers, forms() or "") end
  if not once then return caller.text end
  sent = sent + 1
  caller.headers["Idempotency-Key"] = run .. "-" .. sent
  return wrk.format(method, caller.target, caller.headers, body)
end

function response(status)
  if status ~= expected then
    unexpected = unexpected + 1
    last_unexpected = status
  end
end

function done(summary, latency)
  local wrong, last = 0, "null"
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("unexpected")
    last = tostring(thread:get("last_unexpected") or "null")
  end
  local errors = summary.errors
  wrong = wrong + errors.connect + errors.read + errors.write + errors.timeout
  print(string.format('\n{"rate": %.1f, "p50": %.3f, "p99": %.3f, "unexpected": %d, "last_status": %s}',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, wrong,
    last == "nil" and "null" or last))
end
