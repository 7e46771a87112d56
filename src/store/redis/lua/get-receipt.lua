--- @include "lib.lua"
-- Finds what is known of an envelope by its id.
--
-- ARGV     [1] lane; [2] seq
-- Returns  {'in_flight', attempt state or ''}, {'buffered', attempt state or ''},
--          {'dead_lettered', dead letter}, {'delivered', delivery, 1 if merged}, or nil
local lane, seq = ARGV[1], ARGV[2]
local attemptState = redis.call('HGET', laneKey(lane, 'tries'), seq) or ''
if redis.call('HEXISTS', laneKey(lane, 'claimed'), seq) == 1 then return { 'in_flight', attemptState } end
if readEnvelope(lane, seq) then return { 'buffered', attemptState } end
local deadLetterOrder = redis.call('ZSCORE', storeKey('letter-orders'), lane .. ' ' .. seq)
if deadLetterOrder then
  return { 'dead_lettered', redis.call('HGET', storeKey('letters'), deadLetterOrder) }
end
local range = redis.call('ZRANGEBYSCORE', laneKey(lane, 'settled'), seq, '+inf', 'LIMIT', 0, 1)[1]
if not range then return false end
local first, _, order, merged = string.match(range, '^(%d+) (%d+) (%d+) (%d)$')
local delivery = redis.call('HGET', storeKey('deliveries'), order)
if tonumber(first) > tonumber(seq) or not delivery then return false end
return { 'delivered', delivery, merged }
