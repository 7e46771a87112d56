--- @include "lib.lua"
--- @include "person-order.lua"
-- Removes envelopes of a lane that are not in flight, whatever they wait for. Those of the lane `waiting` are
-- removed in flight, too: no request carries them.
--
-- ARGV     [1] time stamp; [2] lane; then the numbers of the envelopes
-- Returns  {number of removed envelopes, store state}
local now, lane = readNow(ARGV[1]), ARGV[2]
allowWritesWhenFull()

-- The names under which an envelope may wait: its keys, and those of what it waits for in other lanes.
local function listNames(envelope)
  local names = { unpack(envelope.keys) }
  local function addNames(other, keys)
    for _, key in ipairs(keys) do
      names[#names + 1] = other .. ':' .. key
    end
  end
  for _, other in ipairs(after[lane] or {}) do
    addNames(other, envelope.keys)
  end
  for _, other in ipairs(constants.blocking) do
    addNames(other, lane == 'events' and readEventPerson(envelope.payload) or envelope.keys)
  end
  return names
end

local function removeWaiter(envelope)
  for _, name in ipairs(listNames(envelope)) do
    if redis.call('ZREM', laneKey(lane, 'waiters'), name .. ' ' .. envelope.seq) == 1 then
      for _, key in ipairs(envelope.keys) do
        countReserved(lane, key, envelope.seq, -1)
      end
      releaseWaiters(lane, { unpack(envelope.keys) })
      return true
    end
  end
  return false
end

local function removeState(envelope)
  local seq = envelope.seq
  if
    redis.call('HDEL', laneKey(lane, 'claimed'), seq) == 1
    or redis.call('ZREM', laneKey(lane, 'delayed'), seq) == 1
  then
    unlockKeys(lane, envelope.keys)
  elseif not removeWaiter(envelope) then
    -- It can be claimed.
    redis.call('ZREM', laneKey(lane, 'returned'), seq)
    incrementStat(lane, 'ready', -1)
    incrementStat(lane, 'readyBytes', -envelope.bytes)
  end
end

local removed = 0
for index = 3, #ARGV do
  local seq = ARGV[index]
  local envelope = readEnvelope(lane, seq)
  local isInFlight = redis.call('HEXISTS', laneKey(lane, 'claimed'), seq) == 1
  if envelope and (lane == 'waiting' or not isInFlight) then
    removeState(envelope)
    redis.call('XDEL', laneKey(lane, 'queue'), seq .. '-0')
    redis.call('HDEL', laneKey(lane, 'redriven'), seq)
    redis.call('ZREM', laneKey(lane, 'redriven-at'), seq)
    redis.call('HDEL', laneKey(lane, 'tries'), seq)
    incrementStat(lane, 'count', -1)
    incrementStat(lane, 'bytes', -envelope.bytes)
    incrementStat(lane, 'erased', 1)
    removeFromOrder(lane, seq, envelope.keys)
    removed = removed + 1
  end
end
return { removed, readStoreState(now) }
