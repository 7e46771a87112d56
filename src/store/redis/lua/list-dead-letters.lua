--- @include "lib.lua"
-- Reads a page of dead letters, newest first.
--
-- ARGV     [1] upper bound of the order, as in ZRANGEBYSCORE; [2] most entries
-- Returns  {order, dead letter, order, dead letter, …}
local found = redis.call(
  'ZREVRANGEBYSCORE',
  storeKey('letter-orders'),
  ARGV[1],
  '-inf',
  'WITHSCORES',
  'LIMIT',
  0,
  ARGV[2]
)
local deadLetters = {}
for index = 2, #found, 2 do
  deadLetters[#deadLetters + 1] = found[index]
  deadLetters[#deadLetters + 1] = redis.call('HGET', storeKey('letters'), found[index])
end
return deadLetters
