--- @include "lib.lua"
--- @include "dedupe.lua"
--- @include "dead-letters.lua"
--- @include "person-order.lua"
-- Appends the drafts of several requests. Each request is stored as a whole or not at all.
--
-- ARGV     [1] time stamp; [2] maxCount; [3] maxBytes; [4] age and [5] count of the dedupe window;
--          [6] maxDeadLetters; then for each request its number of drafts and for each draft five: lane,
--          acceptedAt, keys, payload, and the dead letter's JSON without its number, or '' for a draft
--          that is to be sent
-- Returns  {numbers, dropped dead letters, store state}. `numbers` has a list for each request: the number
--          of each draft, negative for a duplicate of the event with that number; empty if the store is full
-- Errors   RELAY_NOEPOCH if the store's keys are missing
local now = readNow(ARGV[1])
local maxCount, maxBytes = tonumber(ARGV[2]), tonumber(ARGV[3])
local dedupeMaxAge, dedupeMaxCount, maxDeadLetters = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local meta = storeKey('meta')
if not redis.call('HGET', meta, 'epoch') then
  return redis.error_reply('RELAY_NOEPOCH the keys of the store are missing')
end

local dedupes = dedupeMaxAge > 0 and dedupeMaxCount > 0
local requests, eventKeys = {}, {}
local position = 7
while position <= #ARGV do
  local request = { count = tonumber(ARGV[position]), bytes = 0, drafts = {} }
  position = position + 1
  for index = 1, request.count do
    local draft = {
      lane = ARGV[position],
      m = ARGV[position + 1] .. ' ' .. now .. ' ' .. ARGV[position + 2],
      payload = ARGV[position + 3],
      deadLetterJson = ARGV[position + 4],
      keys = splitWords(ARGV[position + 2]),
    }
    if draft.lane == 'events' and dedupes then
      draft.eventKeys = draft.keys
      for _, key in ipairs(draft.eventKeys) do
        eventKeys[#eventKeys + 1] = key
      end
    end
    request.bytes = request.bytes + #draft.payload + 1
    request.drafts[index] = draft
    position = position + 5
  end
  requests[#requests + 1] = request
end

local storedCount, storedBytes = readSize()
local isFull = redis.call('HGET', meta, 'full') == '1'
local dedupeRecords = readFields(storeKey('seen'), eventKeys)
local newEvents = {}
local lastSeq, sums = {}, {}
for _, lane in ipairs(lanes) do
  lastSeq[lane] = toNumber(redis.call('HGET', laneKey(lane, 'stats'), 'seq'))
  sums[lane] = { accepted = 0, queued = 0, queuedBytes = 0, deadLettered = 0 }
end

local function fits(request)
  if isFull then return false end
  if storedCount + request.count <= maxCount and storedBytes + request.bytes <= maxBytes then return true end
  -- A request that needs most of the store by itself is rejected and does not close the store for others.
  local isLow = storedCount <= maxCount * constants.reopenAt and storedBytes <= maxBytes * constants.reopenAt
  if not isLow then
    redis.call('HSET', meta, 'full', '1')
    isFull = true
  end
  return false
end

local function enqueue(draft, seq)
  local sum = sums[draft.lane]
  local bytes = #draft.payload + 1
  addToOrder(draft.lane, seq, draft.keys)
  redis.call('XADD', laneKey(draft.lane, 'queue'), seq .. '-0', 'm', draft.m, 'p', draft.payload)
  if draft.eventKeys then
    newEvents[#newEvents + 1] = { seq = seq, keys = draft.eventKeys }
    for _, key in ipairs(draft.eventKeys) do
      dedupeRecords[key] = seq .. ':0:' .. now
    end
  end
  sum.queued, sum.queuedBytes = sum.queued + 1, sum.queuedBytes + bytes
  storedCount, storedBytes = storedCount + 1, storedBytes + bytes
end

local function appendDraft(draft)
  local lane = draft.lane
  local duplicate = draft.eventKeys and findDuplicate(dedupeRecords, draft.eventKeys, now, dedupeMaxAge)
  if duplicate then return -duplicate end
  local counter = constants.counters[lane]
  local seq = lastSeq[counter] + 1
  lastSeq[counter] = seq
  sums[lane].accepted = sums[lane].accepted + 1
  if draft.deadLetterJson == '' then
    if lane == 'erase' then
      -- What was accepted before an erasure, in lanes with other counters (`toErasureMark` in person.ts).
      local mark = string.format('#%d.%d.%d', seq, lastSeq.events, lastSeq.waiting)
      draft.keys[#draft.keys + 1] = mark
      draft.m = draft.m .. ' ' .. mark
    end
    enqueue(draft, seq)
  else
    local json = '{"seq":' .. seq .. ',' .. string.sub(draft.deadLetterJson, 2)
    addDeadLetter(lane, seq, json, draft.payload)
    sums[lane].deadLettered = sums[lane].deadLettered + 1
  end
  return seq
end

local numbers = {}
for index, request in ipairs(requests) do
  numbers[index] = {}
  if fits(request) then
    for place, draft in ipairs(request.drafts) do
      numbers[index][place] = appendDraft(draft)
    end
  end
end
local accepted = 0
for _, sum in pairs(sums) do
  accepted = accepted + sum.accepted
end
if accepted == 0 then
  -- WAIT covers the writes of its own connection only, and another connection may have written the events
  -- that these drafts repeat. A write of this script makes WAIT cover them.
  redis.call('HSET', meta, 'repeatedAt', now)
end
recordEvents(newEvents, now, dedupeMaxAge, dedupeMaxCount)
trimDedupeWindow(now, dedupeMaxAge, dedupeMaxCount, 2 * #newEvents + 100)
for lane, sum in pairs(sums) do
  incrementStat(constants.counters[lane], 'seq', sum.accepted)
  incrementStat(lane, 'accepted', sum.accepted)
  for _, name in ipairs({ 'count', 'ready' }) do
    incrementStat(lane, name, sum.queued)
  end
  for _, name in ipairs({ 'bytes', 'readyBytes' }) do
    incrementStat(lane, name, sum.queuedBytes)
  end
  incrementStat(lane, 'buried', sum.deadLettered)
end
return { numbers, dropExcessDeadLetters(maxDeadLetters), readStoreState(now) }
