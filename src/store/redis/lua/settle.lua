--- @include "lib.lua"
--- @include "dedupe.lua"
--- @include "dead-letters.lua"
--- @include "person-order.lua"
-- Records what became of claimed envelopes. An envelope that this relay does not hold by that claim is left
-- alone.
--
-- ARGV     [1] time stamp; [2] wall clock in ms; [3] relay; [4] lane; [5] maxCount; [6] maxBytes; [7] count
--          and [8] age of the delivery log; [9] maxDeadLetters; [10] the settlement as JSON (settlement.ts);
--          last two: relay and change
-- Returns  {dropped dead letters, store state}
local now, wall = readNow(ARGV[1]), tonumber(ARGV[2])
local relay, lane = ARGV[3], ARGV[4]
local maxCount, maxBytes = tonumber(ARGV[5]), tonumber(ARGV[6])
local logMaxCount, logMaxAge, maxDeadLetters = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local settlement = cjson.decode(ARGV[10])
local meta = storeKey('meta')
allowWritesWhenFull()
recordChange()

-- Deletes envelopes that are settled for good.
local function deleteEnvelopes(seqs)
  if #seqs == 0 then return end
  local ids, deleted = {}, 0
  for index, seq in ipairs(seqs) do
    ids[index] = seq .. '-0'
  end
  for _, reply in ipairs(callInBulk('XDEL', laneKey(lane, 'queue'), ids)) do
    deleted = deleted + reply
  end
  if deleted < #ids then
    callInBulk('HDEL', laneKey(lane, 'redriven'), seqs)
    callInBulk('ZREM', laneKey(lane, 'redriven-at'), seqs)
  end
  callInBulk('HDEL', laneKey(lane, 'tries'), seqs)
  callInBulk('HDEL', laneKey(lane, 'claimed'), seqs)
end

local sums = { count = 0, bytes = 0, delivered = 0, merged = 0, buried = 0 }
local isPolled = false
-- Numbers by verdict: d is delivered, m is merged.
local deliveredSeqs = { d = {}, m = {} }
local claimedSeqs, doneSeqs, doneKeys, keysToUnlock, heldCount = {}, {}, {}, {}, 0
for index, line in ipairs(settlement.settled) do
  claimedSeqs[index] = line[1]
end
local owners = readFields(laneKey(lane, 'claimed'), claimedSeqs)
for _, line in ipairs(settlement.settled) do
  local seq, claim, verdict, bytes, keys, text = line[1], line[2], line[3], line[4], line[5], line[6]
  -- A server that lost some numbers assigns them again: the claim distinguishes the two envelopes.
  if owners[seq] == relay .. '/' .. claim then
    -- An envelope that is in one settlement twice is settled once.
    owners[seq] = false
    heldCount = heldCount + 1
    if verdict == 'r' then
      redis.call('HDEL', laneKey(lane, 'claimed'), seq)
      redis.call('HSET', laneKey(lane, 'tries'), seq, settlement.texts[text])
      redis.call('ZADD', laneKey(lane, 'delayed'), now + line[7], seq)
    elseif verdict == 'f' then
      redis.call('HSET', laneKey(lane, 'tries'), seq, settlement.texts[text])
      isPolled = true
    else
      if verdict == 'b' then
        local envelope = readEnvelope(lane, seq)
        addDeadLetter(lane, seq, settlement.texts[text], envelope and envelope.payload or '')
        if lane == 'events' then forgetEvent(keys, seq) end
      end
      doneSeqs[#doneSeqs + 1] = seq
      doneKeys[#doneSeqs] = keys
      sums.count = sums.count + 1
      sums.bytes = sums.bytes + bytes
      local stat = verdict == 'b' and 'buried' or verdict == 'm' and 'merged' or 'delivered'
      sums[stat] = sums[stat] + 1
      local seqs = deliveredSeqs[verdict]
      if seqs then seqs[#seqs + 1] = seq end
      for _, key in ipairs(keys) do
        keysToUnlock[#keysToUnlock + 1] = key
      end
    end
  end
end
deleteEnvelopes(doneSeqs)
unlockKeys(lane, keysToUnlock)
for index, seq in ipairs(doneSeqs) do
  removeFromOrder(lane, seq, doneKeys[index])
end

-- An import job stays as long as one of its envelopes waits for it: a relay that was considered dead must
-- not end it for the relay that adopted it.
local function hasWaitingEnvelope(ref)
  local text = redis.call('HGET', laneKey(lane, 'imports'), ref)
  local attemptStates = readFields(laneKey(lane, 'tries'), text and cjson.decode(text).seqs or {})
  for _, attemptState in pairs(attemptStates) do
    if attemptState and cjson.decode(attemptState).ref == ref then return true end
  end
  return false
end
for _, ref in ipairs(settlement.ended) do
  if not hasWaitingEnvelope(ref) then redis.call('HDEL', laneKey(lane, 'imports'), ref) end
end
-- A poll brought news of an unfinished job: its delivery is replaced and its envelopes stay as they are.
local polledJob = settlement.following and redis.call('HGET', laneKey(lane, 'imports'), settlement.following)
if polledJob then
  local seqs = string.match(polledJob, '"seqs":%b[]}$')
  local text = '{"delivery":' .. settlement.delivery.text .. ',' .. seqs
  redis.call('HSET', laneKey(lane, 'imports'), settlement.following, text)
end
if settlement.import and isPolled then
  redis.call('HSET', laneKey(lane, 'imports'), settlement.import.ref, settlement.import.text)
end

incrementStat(lane, 'count', -sums.count)
incrementStat(lane, 'bytes', -sums.bytes)
for _, name in ipairs({ 'delivered', 'merged', 'buried' }) do
  incrementStat(lane, name, sums[name])
end

-- The rate at which the store drains decays (`decay` in admission.ts).
local function recordDrain()
  local drained = redis.call('HMGET', meta, 'drainedCount', 'drainedBytes', 'drainedAt')
  local factor = math.exp((toNumber(drained[3]) - now) / constants.rateMemoryMs)
  local count = toNumber(drained[1]) * factor + sums.count
  local bytes = toNumber(drained[2]) * factor + sums.bytes
  redis.call('HSET', meta, 'drainedCount', count, 'drainedBytes', bytes, 'drainedAt', now)
end

local function reopenIfLow()
  if redis.call('HGET', meta, 'full') ~= '1' then return end
  local count, bytes = readSize()
  local isLow = count <= maxCount * constants.reopenAt and bytes <= maxBytes * constants.reopenAt
  if isLow then redis.call('HDEL', meta, 'full') end
end

if sums.count > 0 then
  recordDrain()
  reopenIfLow()
end

local dropped = dropExcessDeadLetters(maxDeadLetters)

-- Records under a delivery which numbers it delivered; consecutive numbers form one range.
local function recordDelivered(order, seqs, merged)
  table.sort(seqs)
  local lines = redis.call('HGET', storeKey('delivery-ranges'), order) or ''
  local index = 1
  while index <= #seqs do
    local last = index
    while seqs[last + 1] == seqs[last] + 1 do
      last = last + 1
    end
    local member = seqs[index] .. ' ' .. seqs[last] .. ' ' .. order .. ' ' .. merged
    redis.call('ZADD', laneKey(lane, 'settled'), seqs[last], member)
    lines = lines .. lane .. ' ' .. member .. '\n'
    index = last + 1
  end
  if lines ~= '' then redis.call('HSET', storeKey('delivery-ranges'), order, lines) end
end

local function dropDelivery(order, delivery)
  local lines = redis.call('HGET', storeKey('delivery-ranges'), order) or ''
  for name, member in string.gmatch(lines, '(%a+) ([^\n]+)\n') do
    redis.call('ZREM', laneKey(name, 'settled'), member)
  end
  redis.call('HDEL', storeKey('delivery-ranges'), order)
  redis.call('HDEL', storeKey('deliveries'), order)
  redis.call('HDEL', storeKey('delivery-orders'), delivery.id)
end

-- Drops the oldest deliveries above the bounds of the log, at most 1000 in one script.
local function trimDeliveryLog()
  local last = toNumber(redis.call('HGET', meta, 'delivery'))
  local first = toNumber(redis.call('HGET', meta, 'firstDelivery') or 1)
  for _ = 1, 1000 do
    local text = first <= last and redis.call('HGET', storeKey('deliveries'), first)
    if first > last then break end
    local delivery = text and cjson.decode(text)
    if delivery and last - first < logMaxCount and delivery.at >= wall - logMaxAge then break end
    if delivery then dropDelivery(first, delivery) end
    first = first + 1
  end
  redis.call('HSET', meta, 'firstDelivery', first)
end

-- A request that was sent is recorded even if other relays hold its envelopes by now. Later news of it is
-- recorded only by the relay that holds them.
local knownOrder = settlement.delivery
  and redis.call('HGET', storeKey('delivery-orders'), settlement.delivery.id)
if settlement.delivery and (heldCount > 0 or settlement.count == 0 or not knownOrder) then
  local order = knownOrder or redis.call('HINCRBY', meta, 'delivery', 1)
  redis.call('HSET', storeKey('delivery-orders'), settlement.delivery.id, order)
  redis.call('HSET', storeKey('deliveries'), order, settlement.delivery.text)
  recordDelivered(order, deliveredSeqs.d, '0')
  recordDelivered(order, deliveredSeqs.m, '1')
  trimDeliveryLog()
end
return { dropped, readStoreState(now) }
