--- @include "lib.lua"
--- @include "dedupe.lua"
--- @include "dead-letters.lua"
--- @include "person-order.lua"
-- Queues dead letters again.
--
-- ARGV     [1] time stamp; [2] wall clock in ms; [3] age and [4] count of the dedupe window; then the orders
--          of the dead letters
-- Returns  {number of redriven dead letters, store state}
local now, wall = readNow(ARGV[1]), ARGV[2]
local dedupeMaxAge, dedupeMaxCount = tonumber(ARGV[3]), tonumber(ARGV[4])
local redriven = 0
for index = 5, #ARGV do
  local deadLetter, payload = removeDeadLetter(ARGV[index])
  if deadLetter then
    redriven = redriven + 1
    local lane, seq, keys = deadLetter.lane, deadLetter.seq, table.concat(deadLetter.keys, ' ')
    local m = wall .. ' ' .. now .. ' ' .. keys
    redis.call('HSET', laneKey(lane, 'redriven'), seq, m .. '\n' .. payload)
    redis.call('ZADD', laneKey(lane, 'redriven-at'), wall, seq)
    for _, name in ipairs({ 'count', 'accepted' }) do
      incrementStat(lane, name, 1)
    end
    incrementStat(lane, 'bytes', #payload + 1)
    makeClaimable(lane, toEnvelope(seq, m, payload))
    addToOrder(lane, seq, deadLetter.keys)
    if lane == 'events' then
      recordEvents({ { seq = seq, keys = deadLetter.keys } }, now, dedupeMaxAge, dedupeMaxCount)
      trimDedupeWindow(now, dedupeMaxAge, dedupeMaxCount, 2)
    end
  end
end
return { redriven, readStoreState(now) }
