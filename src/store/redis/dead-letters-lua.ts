/** The dead letters, for the scripts that bury; after the prelude. */
export const deadLettersLua = `
local function shelve(lane, seq, letter, payload)
  local order = redis.call('HINCRBY', K .. ':meta', 'letter', 1)
  redis.call('HSET', K .. ':letters', order, letter .. '\\n' .. payload)
  redis.call('ZADD', K .. ':letter-orders', order, lane .. ' ' .. seq)
  count(lane, 'letters', 1)
end

-- Dead letters are bounded by count, oldest out. Returns what was dropped.
local function dropLetters(maxCount)
  local dropped = {}
  while redis.call('ZCARD', K .. ':letter-orders') > maxCount do
    local oldest = redis.call('ZPOPMIN', K .. ':letter-orders')
    dropped[#dropped + 1] = redis.call('HGET', K .. ':letters', oldest[2])
    redis.call('HDEL', K .. ':letters', oldest[2])
    count(string.match(oldest[1], '^%a+'), 'letters', -1)
  end
  return dropped
end
`;
