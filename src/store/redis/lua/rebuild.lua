--- @include "lib.lua"
--- @include "person-order.lua"
-- Repairs a store that has lost some of its keys, for example to an eviction policy. Every envelope that is
-- still stored is queued again as if it had not been sent. So an envelope may be sent twice under one
-- `unique_id`, and none is lost.
--
-- The field `rebuilding` of a lane's stats is the number of the last envelope that is counted. While the
-- field exists, relays accept nothing and claim nothing.

-- Envelopes that one run of the script counts. Redis runs no other command meanwhile.
local countedPerRun = 5000

-- Describes how the keys of a lane contradict each other; nil if they do not. Also returns the numbers of
-- envelopes that can move or are in flight, and of those that wait.
local function findContradictionOf(lane)
  local stats = redis.call('HMGET', laneKey(lane, 'stats'), 'count', 'ready')
  local count, ready = toNumber(stats[1]), toNumber(stats[2])
  local stored = redis.call('XLEN', laneKey(lane, 'queue')) + redis.call('HLEN', laneKey(lane, 'redriven'))
  if stored ~= count then return lane .. ' has ' .. stored .. ' envelopes of ' .. count end
  local held = redis.call('HLEN', laneKey(lane, 'claimed')) + redis.call('ZCARD', laneKey(lane, 'delayed'))
  local waiting = redis.call('ZCARD', laneKey(lane, 'waiters'))
  local withState = ready + held + waiting
  if withState ~= count then return lane .. ' has the state of ' .. withState .. ' envelopes of ' .. count end
  local returned = redis.call('ZCARD', laneKey(lane, 'returned'))
  local cursor = toNumber(redis.call('HGET', laneKey(lane, 'stats'), 'cursor'))
  local hasFresh = ready > returned
    and #redis.call('XRANGE', laneKey(lane, 'queue'), '(' .. cursor .. '-0', '+', 'COUNT', 1) > 0
  if ready < returned or (ready > returned and not hasFresh) then
    return lane .. ' has ' .. ready .. ' envelopes to send, and cannot find them'
  end
  -- Every profile has a key, so a claimed or delayed profile locks one.
  if lane == 'profiles' and held > 0 and redis.call('EXISTS', laneKey(lane, 'taken')) == 0 then
    return 'the locks of ' .. held .. ' profiles are missing'
  end
  return nil, ready + held, waiting
end

-- Describes how the keys of the store contradict each other; nil if they do not. Envelopes wait for those of
-- other lanes, so a contradiction in one lane concerns all of them.
local function findContradiction()
  local movable, waiting = 0, 0
  for _, lane in ipairs(lanes) do
    if redis.call('HEXISTS', laneKey(lane, 'stats'), 'rebuilding') == 1 then return nil end
    local contradiction, movableHere, waitingHere = findContradictionOf(lane)
    if contradiction then return contradiction end
    -- What the lane `waiting` holds is never sent, so nothing waits for it.
    if lane ~= 'waiting' then
      movable, waiting = movable + movableHere, waiting + waitingHere
    end
  end
  if waiting > 0 and movable == 0 then return waiting .. ' envelopes wait for nothing' end
  return nil
end

local function countEnvelopes(lane, count, bytes)
  for _, name in ipairs({ 'count', 'ready' }) do
    incrementStat(lane, name, count)
  end
  for _, name in ipairs({ 'bytes', 'readyBytes' }) do
    incrementStat(lane, name, bytes)
  end
end

local rebuiltKeys = {
  'claimed',
  'delayed',
  'returned',
  'waiters',
  'taken',
  'reserved',
  'waiting-keys',
  'people',
  'tries',
  'imports',
  'orphans',
  'redriven-at',
}

local function beginRebuild(lane, now)
  local stats, queue = laneKey(lane, 'stats'), laneKey(lane, 'queue')
  for _, name in ipairs(rebuiltKeys) do
    redis.call('DEL', laneKey(lane, name))
  end
  -- No relay holds anything any more: all leases end.
  for _, relay in ipairs(redis.call('ZRANGE', storeKey('relays'), 0, -1)) do
    redis.call('ZADD', storeKey('relays'), 0, relay)
  end
  local newest = redis.call('XREVRANGE', queue, '+', '-', 'COUNT', 1)[1]
  -- If the last number is lost, the time in ms is above every number that was assigned.
  local seq = redis.call('HGET', stats, 'seq') or now
  if newest then seq = math.max(seq, tonumber(string.match(newest[1], '^%d+'))) end
  redis.call('HSET', stats, 'rebuilding', 0, 'cursor', 0, 'seq', seq)
  redis.call('HSET', stats, 'count', 0, 'bytes', 0, 'ready', 0, 'readyBytes', 0)
  local redriven = redis.call('HGETALL', laneKey(lane, 'redriven'))
  for index = 1, #redriven, 2 do
    local envelope = readEnvelope(lane, redriven[index])
    redis.call('ZADD', laneKey(lane, 'redriven-at'), envelope.acceptedAt, envelope.seq)
    redis.call('ZADD', laneKey(lane, 'returned'), envelope.seq, envelope.seq)
    countEnvelopes(lane, 1, envelope.bytes)
    addToOrder(lane, envelope.seq, envelope.keys)
  end
end

-- Continues the repair of a lane, or begins it if `contradiction` is not nil. Returns why relays must wait;
-- nil if the lane needs no repair.
local function rebuild(lane, contradiction, now)
  local stats = laneKey(lane, 'stats')
  local countedTo = redis.call('HGET', stats, 'rebuilding')
  if not countedTo then
    if not contradiction then return nil end
    redis.call('HSET', storeKey('meta'), 'tear', contradiction)
    beginRebuild(lane, now)
    countedTo = '0'
  end
  local after = '(' .. countedTo .. '-0'
  local entries = redis.call('XRANGE', laneKey(lane, 'queue'), after, '+', 'COUNT', countedPerRun)
  local bytes = 0
  for _, entry in ipairs(entries) do
    bytes = bytes + #entry[2][4] + 1
    local seq = string.match(entry[1], '^%d+')
    addToOrder(lane, seq, toEnvelope(seq, entry[2][2], entry[2][4]).keys)
  end
  countEnvelopes(lane, #entries, bytes)
  if #entries == countedPerRun then
    redis.call('HSET', stats, 'rebuilding', string.match(entries[#entries][1], '^%d+'))
  else
    redis.call('HDEL', stats, 'rebuilding')
  end
  return 'keys of the buffer are gone ('
    .. (redis.call('HGET', storeKey('meta'), 'tear') or '')
    .. '), for example because the server evicts keys: the remaining envelopes are queued again'
end
