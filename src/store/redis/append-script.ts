import { reopenAt } from '../admission.js';
import { deadLettersLua } from './dead-letters-lua.js';
import { libLua, toScript } from './lib-script.js';
import { dedupeLua } from './dedupe-lua.js';

/**
 * now, maxCount, maxBytes, dedupe's age and count, maxDeadLetters, then per request how many drafts it
 * has, and per draft lane, acceptedAt, keys, payload, and for one to bury its dead letter's JSON, but
 * for the number → {taken, dropped letters, view}. taken is a list a request: a number a draft, negative
 * for a repeat of that number; empty where there is no room.
 */
export const appendScript = toScript(
  'append',
  `${libLua}${dedupeLua}${deadLettersLua}
local now = toNow(ARGV[1])
local maxCount, maxBytes = tonumber(ARGV[2]), tonumber(ARGV[3])
local maxAge, maxSeen, maxLetters = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local meta = K .. ':meta'
if not redis.call('HGET', meta, 'epoch') then return redis.error_reply('RELAY_NOEPOCH the buffer is not there') end

local dedupes = maxAge > 0 and maxSeen > 0
local requests, asked = {}, {}
local at = 7
while at <= #ARGV do
  local request = {count = tonumber(ARGV[at]), bytes = 0, drafts = {}}
  at = at + 1
  for index = 1, request.count do
    local draft = {lane = ARGV[at], m = ARGV[at + 1] .. ' ' .. now .. ' ' .. ARGV[at + 2], payload = ARGV[at + 3], letter = ARGV[at + 4]}
    if draft.lane == 'events' and dedupes then
      draft.keys = words(ARGV[at + 2])
      for _, each in ipairs(draft.keys) do asked[#asked + 1] = each end
    end
    request.bytes = request.bytes + #draft.payload + 1
    request.drafts[index] = draft
    at = at + 5
  end
  requests[#requests + 1] = request
end

local heldCount, heldBytes = held()
local isFull = redis.call('HGET', meta, 'full') == '1'
local known = fields(K .. ':seen', asked)
local events = {}
local next, added = {}, {}
for _, lane in ipairs(lanes) do next[lane] = number(redis.call('HGET', key(lane, 'stats'), 'seq')) end
for _, lane in ipairs(lanes) do added[lane] = {all = 0, bytes = 0, buried = 0, kept = 0} end

local function hasRoom(request)
  if isFull then return false end
  if heldCount + request.count <= maxCount and heldBytes + request.bytes <= maxBytes then return true end
  -- A request that is itself most of the buffer is refused without closing it for smaller ones.
  local isLow = heldCount <= maxCount * ${reopenAt} and heldBytes <= maxBytes * ${reopenAt}
  if not isLow then
    redis.call('HSET', meta, 'full', '1')
    isFull = true
  end
  return false
end

local function keep(draft, seq)
  local sums = added[draft.lane]
  local weight = #draft.payload + 1
  redis.call('XADD', key(draft.lane, 'queue'), seq .. '-0', 'm', draft.m, 'p', draft.payload)
  if draft.keys then
    events[#events + 1] = {seq = seq, keys = draft.keys}
    for _, each in ipairs(draft.keys) do known[each] = seq .. ':0:' .. now end
  end
  sums.kept, sums.bytes = sums.kept + 1, sums.bytes + weight
  heldCount, heldBytes = heldCount + 1, heldBytes + weight
end

local function take(draft)
  local lane = draft.lane
  local repeated = draft.keys and findSeen(known, draft.keys, now, maxAge)
  if repeated then return -repeated end
  local seq = next[lane] + 1
  next[lane] = seq
  added[lane].all = added[lane].all + 1
  if draft.letter == '' then keep(draft, seq)
  else
    shelve(lane, seq, '{"seq":' .. seq .. ',' .. string.sub(draft.letter, 2), draft.payload)
    added[lane].buried = added[lane].buried + 1
  end
  return seq
end

local taken = {}
for index, request in ipairs(requests) do
  taken[index] = {}
  if hasRoom(request) then
    for place, draft in ipairs(request.drafts) do taken[index][place] = take(draft) end
  end
end
local all = 0
for _, sums in pairs(added) do all = all + sums.all end
if all == 0 then
  -- A wait for replicas counts from the last write of its connection. What is repeated may be another's.
  redis.call('HSET', meta, 'repeatedAt', now)
end
remember(events, now, maxAge, maxSeen)
trimSeen(now, maxAge, maxSeen, 2 * #events + 100)
for lane, sums in pairs(added) do
  for _, name in ipairs({'seq', 'accepted'}) do count(lane, name, sums.all) end
  for _, name in ipairs({'count', 'ready'}) do count(lane, name, sums.kept) end
  for _, name in ipairs({'bytes', 'readyBytes'}) do count(lane, name, sums.bytes) end
  count(lane, 'buried', sums.buried)
end
return {taken, dropLetters(maxLetters), view(now)}
`,
);
