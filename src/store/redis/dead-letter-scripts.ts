import { libLua, toScript } from './lib-script.js';
import { dedupeLua } from './dedupe-lua.js';

/** An order below which, how many → {order, letter, …}, newest first. */
export const deadLettersScript = toScript(
  'letters',
  `${libLua}
local found = redis.call('ZREVRANGEBYSCORE', K .. ':letter-orders', ARGV[1], '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local letters = {}
for index = 2, #found, 2 do
  letters[#letters + 1] = found[index]
  letters[#letters + 1] = redis.call('HGET', K .. ':letters', found[index])
end
return letters
`,
);

/** lane, number → the letter, or nothing. */
export const deadLetterScript = toScript(
  'letter',
  `${libLua}
local order = redis.call('ZSCORE', K .. ':letter-orders', ARGV[1] .. ' ' .. ARGV[2])
return order and redis.call('HGET', K .. ':letters', order)
`,
);

const take = `${libLua}${dedupeLua}
-- Null where somebody else decided on it meanwhile.
local function take(order)
  local blob = redis.call('HGET', K .. ':letters', order)
  if not blob then return nil end
  local cut = string.find(blob, '\\n', 1, true)
  local letter = cjson.decode(string.sub(blob, 1, cut - 1))
  redis.call('HDEL', K .. ':letters', order)
  redis.call('ZREM', K .. ':letter-orders', letter.lane .. ' ' .. letter.seq)
  count(letter.lane, 'letters', -1)
  return letter, string.sub(blob, cut + 1)
end
`;

/** now, wall, dedupe's age and count, orders → {count, view}. */
export const redriveScript = toScript(
  'redrive',
  `${take}
local now, wall = toNow(ARGV[1]), ARGV[2]
local maxAge, maxSeen = tonumber(ARGV[3]), tonumber(ARGV[4])
local done = 0
for index = 5, #ARGV do
  local letter, payload = take(ARGV[index])
  if letter then
    done = done + 1
    local lane, seq, keys = letter.lane, letter.seq, table.concat(letter.keys, ' ')
    local m = wall .. ' ' .. now .. ' ' .. keys
    redis.call('HSET', key(lane, 'redriven'), seq, m .. '\\n' .. payload)
    redis.call('ZADD', key(lane, 'redriven-at'), wall, seq)
    for _, name in ipairs({'count', 'accepted'}) do count(lane, name, 1) end
    count(lane, 'bytes', #payload + 1)
    giveBack(lane, toContent(seq, m, payload))
    if lane == 'events' then
      remember({{seq = seq, keys = letter.keys}}, now, maxAge, maxSeen)
      trimSeen(now, maxAge, maxSeen, 2)
    end
  end
end
return {done, view(now)}
`,
);

/** now, orders → {count, view}. */
export const discardScript = toScript(
  'discard',
  `${take}
local now = toNow(ARGV[1])
local done = 0
evenWhenFull()
for index = 2, #ARGV do if take(ARGV[index]) then done = done + 1 end end
return {done, view(now)}
`,
);
