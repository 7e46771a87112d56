import { toScript } from '../../redis/link.js';
import { reopenAt } from '../admission.js';
import { prelude } from './prelude.js';

/**
 * now, maxCount, maxBytes, dedupe's age and count, then per draft lane, acceptedAt, keys, payload →
 * {taken, view}: a number a draft, negative for a repeat of that number; empty where there is no room.
 */
export const appendScript = toScript(
  'append',
  `${prelude}
local now = toNow(ARGV[1])
local maxCount, maxBytes = tonumber(ARGV[2]), tonumber(ARGV[3])
local maxAge, maxSeen = tonumber(ARGV[4]), tonumber(ARGV[5])
local meta = K .. ':meta'
if not redis.call('HGET', meta, 'epoch') then return redis.error_reply('NOEPOCH the buffer is not there') end

local all, bytes = 0, 0
for index = 6, #ARGV, 4 do
  all = all + 1
  bytes = bytes + #ARGV[index + 3] + 1
end
local heldCount, heldBytes = held()
local isFull = redis.call('HGET', meta, 'full') == '1'
if isFull or heldCount + all > maxCount or heldBytes + bytes > maxBytes then
  -- A request that is itself most of the buffer is refused without closing it for smaller ones.
  if not isFull and not isBelow(${reopenAt}, maxCount, maxBytes) then redis.call('HSET', meta, 'full', '1') end
  return {{}, view(now)}
end

local taken = {}
local added = {events = {0, 0}, profiles = {0, 0}}
local dedupes = maxAge > 0 and maxSeen > 0
local asked, drafts, events = {}, {}, {}
for index = 6, #ARGV, 4 do
  local draft = {lane = ARGV[index], m = ARGV[index + 1] .. ' ' .. now .. ' ' .. ARGV[index + 2], payload = ARGV[index + 3]}
  if draft.lane == 'events' and dedupes then
    draft.keys = words(ARGV[index + 2])
    for _, each in ipairs(draft.keys) do asked[#asked + 1] = each end
  end
  drafts[#drafts + 1] = draft
end
local known = fields(K .. ':seen', asked)
local next = {
  events = number(redis.call('HGET', key('events', 'stats'), 'seq')),
  profiles = number(redis.call('HGET', key('profiles', 'stats'), 'seq')),
}
for index, draft in ipairs(drafts) do
  local lane = draft.lane
  local repeated = draft.keys and findSeen(known, draft.keys, now, maxAge)
  if repeated then
    taken[index] = -repeated
  else
    local seq = next[lane] + 1
    next[lane] = seq
    redis.call('XADD', key(lane, 'queue'), seq .. '-0', 'm', draft.m, 'p', draft.payload)
    if draft.keys then
      events[#events + 1] = {seq = seq, keys = draft.keys}
      for _, each in ipairs(draft.keys) do known[each] = seq .. ':0:' .. now end
    end
    added[lane][1] = added[lane][1] + 1
    added[lane][2] = added[lane][2] + #draft.payload + 1
    taken[index] = seq
  end
end
remember(events, now, maxAge, maxSeen)
trimSeen(now, maxAge, maxSeen, 2 * #events + 100)
for lane, sums in pairs(added) do
  for _, name in ipairs({'seq', 'count', 'ready', 'accepted'}) do count(lane, name, sums[1]) end
  for _, name in ipairs({'bytes', 'readyBytes'}) do count(lane, name, sums[2]) end
end
return {taken, view(now)}
`,
);
