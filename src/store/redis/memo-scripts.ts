import { prelude, toScript } from './prelude.js';

/** What is too much, where the bound was lowered, goes a few with each call, so that no call pays for all. */
const extraDrops = 64;

/** maxMemos, then per memo key and value → how many. The newest of a key comes last. */
export const rememberScript = toScript(
  'remember',
  `${prelude}
local maxCount, given = tonumber(ARGV[1]), (#ARGV - 1) / 2
local meta, memos, orders = K .. ':meta', K .. ':memos', K .. ':memo-orders'
if not redis.call('HGET', meta, 'epoch') then return redis.error_reply('RELAY_NOEPOCH the buffer is not there') end

if maxCount > 0 then
  local order = redis.call('HINCRBY', meta, 'memo', given) - given
  local values, places = {}, {}
  for index = 1, given do
    local name, at = ARGV[2 * index], 2 * index - 1
    values[at], values[at + 1] = name, ARGV[2 * index + 1]
    places[at], places[at + 1] = order + index, name
  end
  bulk('HSET', memos, values)
  bulk('ZADD', orders, places)
end
local excess = math.min(redis.call('ZCARD', orders) - maxCount, given + ${extraDrops})
if excess > 0 then
  bulk('HDEL', memos, redis.call('ZRANGE', orders, 0, excess - 1))
  redis.call('ZREMRANGEBYRANK', orders, 0, excess - 1)
end
return given
`,
);

/** Keys → the value of each, or nothing. */
export const recallScript = toScript(
  'recall',
  `${prelude}
local known = fields(K .. ':memos', ARGV)
local values = {}
for index, name in ipairs(ARGV) do values[index] = known[name] end
return values
`,
);
