--- @include "lib.lua"
--- @include "person-order.lua"
-- Claims envelopes of a lane for one request to Klaviyo, with the rules of src/store/claim-builder.ts.
--
-- An item of a claim is what becomes one record of the request: one envelope, or several profiles of one
-- person that merge. Two items never share a key. An envelope whose key is locked waits for this key.
-- Returned envelopes (before the cursor) are examined before fresh ones (after the cursor).
--
-- ARGV     [1] time stamp; [2] relay; [3] number of the claim; [4] lane; [5] maxCount; [6] maxBytes;
--          [7] isolateAfterAttempts; [8] 1 if profiles merge; last two: relay and change
-- Returns  {claimed, store state}. `claimed` has five values for each envelope in order: place of its item,
--          seq, attempt state or '', m, payload
local now = readNow(ARGV[1])
local owner, lane = ARGV[2] .. '/' .. ARGV[3], ARGV[4]
local maxCount, maxBytes, isolateAfterAttempts = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local merges = ARGV[8] == '1'
-- If all envelopes have to wait, the claim ends after so many, and the next claim continues there.
local maxExamined = 20000
allowWritesWhenFull()
recordChange()
if not mayClaim(ARGV[2], ARGV[3]) then return { {}, readStoreState(now) } end
requeueDue(lane, now)

local locked, reserved = laneKey(lane, 'taken'), laneKey(lane, 'reserved')
local maxItems = maxCount
local items, itemByKey = {}, {}
local bytes, isClosed = 0, false

-- How many items a request may have that carries this envelope: fewer with each failed attempt.
local function findMaxItems(envelope)
  local attempts = envelope.attempts
  if envelope.alone and attempts > 0 then return 1 end
  local excess = attempts - isolateAfterAttempts
  if excess < 0 then return maxCount end
  return math.max(1, math.floor(maxCount / 2 ^ (excess + 1)))
end

local function fits(envelope)
  if #items > 0 and bytes + envelope.bytes > maxBytes then isClosed = true end
  return not isClosed
end

local function addToItem(item, envelope)
  item.members[#item.members + 1] = envelope
  bytes = bytes + envelope.bytes
  for _, key in ipairs(envelope.keys) do
    item.keys[key] = true
    itemByKey[key] = item
  end
end

local function openItem(envelope)
  maxItems = math.min(maxItems, findMaxItems(envelope))
  if #items >= maxItems then isClosed = #items > 0 end
  if isClosed or not fits(envelope) then return 'full' end
  local item = { members = {}, keys = {} }
  items[#items + 1] = item
  addToItem(item, envelope)
  return 'added'
end

-- Two profiles merge if they share an identifier and contradict each other in none. The first character
-- of a key is the kind of the identifier.
local function isMergeable(item, keys)
  local kinds = {}
  for key in pairs(item.keys) do
    kinds[string.sub(key, 1, 1)] = true
  end
  local shares = false
  for _, key in ipairs(keys) do
    if item.keys[key] then
      shares = true
    elseif kinds[string.sub(key, 1, 1)] then
      return false
    end
  end
  return shares
end

local function canJoin(item, envelope, sharedKeys)
  if not merges or envelope.alone or item.members[1].alone then return false end
  for _, key in ipairs(sharedKeys) do
    if itemByKey[key] ~= item then return false end
  end
  return isMergeable(item, envelope.keys)
end

-- Only envelopes of one group share a request (src/model/group.ts). The others stay claimable, and what
-- shares a key with them stays behind them.
local isGrouped, group = constants.grouped[lane], nil
local otherGroups, keysOfOtherGroups = 0, {}
local maxOtherGroups = 1000
local function isOfOtherGroup(envelope)
  if not isGrouped then return false end
  local own = string.match(envelope.payload, '^{"group":"([^"]*)"')
  group = group or own
  local isOther = own ~= group
  for _, key in ipairs(envelope.keys) do
    isOther = isOther or keysOfOtherGroups[key] ~= nil
  end
  if not isOther then return false end
  for _, key in ipairs(envelope.keys) do
    keysOfOtherGroups[key] = true
  end
  otherGroups = otherGroups + 1
  if otherGroups == maxOtherGroups then isClosed = true end
  return true
end

-- Returns `added`, `full`, `other-group`, or the key that the envelope has to wait for.
local function addToClaim(envelope)
  if isOfOtherGroup(envelope) then return 'other-group' end
  local sharedKeys = {}
  for _, key in ipairs(envelope.keys) do
    if itemByKey[key] then sharedKeys[#sharedKeys + 1] = key end
  end
  if not sharedKeys[1] then return openItem(envelope) end
  local item = itemByKey[sharedKeys[1]]
  if not canJoin(item, envelope, sharedKeys) then return sharedKeys[1] end
  if not fits(envelope) then return 'full' end
  addToItem(item, envelope)
  return 'added'
end

-- Locks change only at the end of a claim, so they are read for many envelopes at once.
local isLocked = {}
local function readLocks(envelopes)
  local keys = {}
  for _, envelope in ipairs(envelopes) do
    for _, key in ipairs(envelope.keys) do
      keys[#keys + 1] = key
    end
  end
  for key, count in pairs(readFields(locked, keys)) do
    isLocked[key] = count
  end
end

local hasWaiters = redis.call('EXISTS', reserved) == 1
local hasWaitingKeys = redis.call('EXISTS', laneKey(lane, 'waiting-keys')) == 1
local function isReserved(key, seq)
  if hasWaiters and redis.call('HEXISTS', reserved, key) == 1 then return true end
  if not constants.after[lane] then return false end
  local first = hasWaitingKeys and findFirst(laneKey(lane, 'waiting-keys'), key)
  return first and first < tonumber(seq)
end
local function findLockedKey(envelope)
  for _, key in ipairs(envelope.keys) do
    if isLocked[key] or isReserved(key, envelope.seq) then return key end
  end
  return findEarlier(lane, envelope)
end

local noLongerReady = { count = 0, bytes = 0 }

-- Claims an envelope or lets it wait for a key. Returns `full` or `other-group` if it stays claimable.
local function examine(envelope)
  local waitsFor = findLockedKey(envelope)
  if not waitsFor then
    local result = addToClaim(envelope)
    if result == 'full' or result == 'other-group' then return result end
    if result ~= 'added' then waitsFor = result end
  end
  if waitsFor then
    waitForKey(lane, waitsFor, envelope)
    hasWaiters, hasWaitingKeys = true, true
  end
  noLongerReady.count = noLongerReady.count + 1
  noLongerReady.bytes = noLongerReady.bytes + envelope.bytes
  return 'done'
end

local examined = 0
local cursor = toNumber(redis.call('HGET', laneKey(lane, 'stats'), 'cursor'))
local returned = redis.call('ZRANGE', laneKey(lane, 'returned'), 0, maxExamined - 1)
local nextReturned = 1

-- Examines the returned envelopes up to a number. Returns false if one did not fit. Returned envelopes are
-- older than fresh ones, except for a redriven dead letter that was dead-lettered at once.
local function examineReturned(lastSeq)
  while returned[nextReturned] and tonumber(returned[nextReturned]) <= lastSeq do
    if isClosed then return false end
    local seq = returned[nextReturned]
    examined = examined + 1
    local envelope, result = readEnvelope(lane, seq), 'done'
    if envelope then
      local stored = redis.call('HGET', laneKey(lane, 'tries'), seq)
      local attemptState = stored and cjson.decode(stored)
      envelope.attemptState = stored or ''
      envelope.attempts = attemptState and attemptState.attempts or 0
      envelope.alone = attemptState and attemptState.alone or false
      readLocks({ envelope })
      result = examine(envelope)
      if result == 'full' then return false end
    end
    if result == 'done' then redis.call('ZREM', laneKey(lane, 'returned'), seq) end
    nextReturned = nextReturned + 1
  end
  -- If more were returned than this claim examines, fresh envelopes may be younger than the rest.
  local hasExaminedAll = nextReturned <= #returned or #returned < maxExamined
  return hasExaminedAll and not isClosed
end

local continues = examineReturned(cursor)
while continues and examined < maxExamined do
  local most = math.max(1, math.min(500, maxItems - #items + 1))
  local fresh = redis.call('XRANGE', laneKey(lane, 'queue'), '(' .. cursor .. '-0', '+', 'COUNT', most)
  if #fresh == 0 then
    examineReturned(math.huge)
    continues = false
  end
  local envelopes = {}
  for index, entry in ipairs(fresh) do
    envelopes[index] = toEnvelope(string.match(entry[1], '^%d+'), entry[2][2], entry[2][4])
  end
  readLocks(envelopes)
  for _, envelope in ipairs(envelopes) do
    examined = examined + 1
    envelope.attemptState, envelope.attempts, envelope.alone = '', 0, false
    local result = examineReturned(tonumber(envelope.seq)) and examine(envelope) or 'full'
    if result == 'full' then
      continues = false
      break
    end
    cursor = tonumber(envelope.seq)
    if result == 'other-group' then redis.call('ZADD', laneKey(lane, 'returned'), cursor, cursor) end
  end
end
redis.call('HSET', laneKey(lane, 'stats'), 'cursor', cursor)

incrementStat(lane, 'ready', -noLongerReady.count)
incrementStat(lane, 'readyBytes', -noLongerReady.bytes)

local claimed, owners, lockCounts, locks = {}, {}, {}, {}
for index, item in ipairs(items) do
  for _, envelope in ipairs(item.members) do
    for _, key in ipairs(envelope.keys) do
      lockCounts[key] = (lockCounts[key] or 0) + 1
    end
    owners[#owners + 1] = envelope.seq
    owners[#owners + 1] = owner
    local last = #claimed
    claimed[last + 1], claimed[last + 2] = index, tonumber(envelope.seq)
    claimed[last + 3], claimed[last + 4], claimed[last + 5] =
      envelope.attemptState, envelope.m, envelope.payload
  end
end
for key, count in pairs(lockCounts) do
  locks[#locks + 1] = key
  locks[#locks + 1] = count
end
-- None of these keys was locked before, because its envelope would have had to wait.
callInBulk('HSET', locked, locks)
callInBulk('HSET', laneKey(lane, 'claimed'), owners)
return { claimed, readStoreState(now) }
