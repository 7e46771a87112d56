import { libLua, toScript } from './lib-script.js';

/** lane, number → {state, tries | letter | delivery, merged}, or nothing. */
export const receiptScript = toScript(
  'receipt',
  `${libLua}
local lane, seq = ARGV[1], ARGV[2]
local tried = redis.call('HGET', key(lane, 'tries'), seq) or ''
if redis.call('HEXISTS', key(lane, 'claimed'), seq) == 1 then return {'in_flight', tried} end
if content(lane, seq) then return {'buffered', tried} end
local order = redis.call('ZSCORE', K .. ':letter-orders', lane .. ' ' .. seq)
if order then return {'dead_lettered', redis.call('HGET', K .. ':letters', order)} end
local range = redis.call('ZRANGEBYSCORE', key(lane, 'settled'), seq, '+inf', 'LIMIT', 0, 1)[1]
if not range then return false end
local from, _, delivered, merged = string.match(range, '^(%d+) (%d+) (%d+) (%d)$')
local delivery = redis.call('HGET', K .. ':deliveries', delivered)
if tonumber(from) > tonumber(seq) or not delivery then return false end
return {'delivered', delivery, merged}
`,
);

/** An order from which, how many → {order, JSON, …}, newest first, and where to go on or 0. */
export const deliveriesScript = toScript(
  'deliveries',
  `${libLua}
local last = number(redis.call('HGET', K .. ':meta', 'delivery'))
local first = number(redis.call('HGET', K .. ':meta', 'firstDelivery') or 1)
local order = math.min(last, tonumber(ARGV[1]))
local found = {}
while order >= first and #found < 2 * tonumber(ARGV[2]) do
  local text = redis.call('HGET', K .. ':deliveries', order)
  if text then
    found[#found + 1] = order
    found[#found + 1] = text
  end
  order = order - 1
end
return {found, order >= first and order or 0}
`,
);

/** id → JSON, or nothing. */
export const deliveryScript = toScript(
  'delivery',
  `${libLua}
local order = redis.call('HGET', K .. ':delivery-orders', ARGV[1])
return order and redis.call('HGET', K .. ':deliveries', order)
`,
);
