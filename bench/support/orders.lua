-- Load for wrk: order events of some 400 bytes and profiles of some 250, each with ids of its own.
-- wrk … -- RUN KIND PER_REQUEST KEY DELAY_MS PAD REPEATED PEOPLE
-- KIND is `event`, `events`, `ndjson` or `profiles`; PAD bytes are added to each event; of the profiles
-- a part REPEATED is of a few people; events are of PEOPLE different ones.
local run, kind, perRequest, delayMs, pad, repeated, people
local path, head
local number = 0

local function event()
  number = number + 1
  local id = tostring(number)
  local person = number * 7919 % people
  return table.concat({
    '{"event_name":"Placed Order","email":"shopper-', person, '@klaviyo-demo.com","distinct_id":"customer-', person,
    '","insert_id":"order-', run, '-', id, '","event_time":"2026-01-', string.format('%02d', 1 + number % 28), 'T09:',
    string.format('%02d', number % 60), ':12Z","value":', 20 + number % 90, '.95,"currency":"EUR","order_id":"', run, '-', id,
    '","properties":{"items":[{"sku":"AB-', number % 997, '","name":"Walking Boots","quantity":2,"price":64.95}],"coupon":"WINTER","shipping":"express","source":"web","page":"https://shop.klaviyo-demo.com/checkout/done', pad, '"}}'
  })
end

local function profile()
  number = number + 1
  local person = math.random() < repeated and 'often-' .. math.random(1, 50) or run .. '-' .. number
  return table.concat({
    '{"email":"shopper-', person, '@klaviyo-demo.com","distinct_id":"customer-', person,
    '","first_name":"Ada","last_name":"Lovelace","location":{"city":"London","country":"GB"},"properties":{"plan":"gold","orders":', number % 90,
    ',"last_seen":"2026-01-31T09:30:12Z","source":"checkout"}}'
  })
end

-- Request and body are joined once: each copy of a long string is new memory, which is most of what this load costs.
local function many(make, before, between, after)
  local all, size = { head, 0, '\r\n\r\n' .. before }, #before + #after + (perRequest - 1) * #between
  for index = 1, perRequest do
    local one = make()
    size = size + #one
    all[#all + 1] = one
    all[#all + 1] = index < perRequest and between or after
  end
  all[2] = size
  return table.concat(all)
end

function init(args)
  run, kind, perRequest, delayMs = args[1], args[2], tonumber(args[3]), tonumber(args[5])
  pad, repeated, people = string.rep('x', tonumber(args[6])), tonumber(args[7]), tonumber(args[8])
  wrk.method = 'POST'
  wrk.headers['Authorization'] = 'Bearer ' .. args[4]
  wrk.headers['Content-Type'] = kind == 'ndjson' and 'application/x-ndjson' or 'application/json'
  path = ({ event = '/v1/events', profiles = '/v1/profiles/batch' })[kind] or '/v1/events/batch'
  head = 'POST ' .. path .. ' HTTP/1.1\r\n'
  for name, value in pairs(wrk.headers) do head = head .. name .. ': ' .. value .. '\r\n' end
  head = head .. 'Content-Length: '
  if delayMs == 0 then delay = nil end
end

function request()
  if kind == 'event' then return wrk.format(nil, path, nil, event()) end
  if kind == 'ndjson' then return many(event, '', '\n', '\n') end
  return many(kind == 'profiles' and profile or event, '[', ',', ']')
end

-- Spread, so that requests do not come in step.
function delay() return math.random(0, 2 * delayMs) end

function done(summary, latency)
  io.write(string.format('{"requests":%d,"seconds":%.6f,"failed":%d,"p50Ms":%.3f,"p99Ms":%.3f}\n',
    summary.requests, summary.duration / 1e6,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
