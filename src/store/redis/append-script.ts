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
trimSeen(now, maxAge, maxSeen, 2 * all)
for index = 6, #ARGV, 4 do
  local lane, acceptedAt, keys, payload = ARGV[index], ARGV[index + 1], ARGV[index + 2], ARGV[index + 3]
  local list = words(keys)
  local known = lane == 'events' and findSeen(list, now, maxAge, maxSeen)
  if known then
    taken[#taken + 1] = -known
  else
    local seq = redis.call('HINCRBY', key(lane, 'stats'), 'seq', 1)
    redis.call('XADD', key(lane, 'queue'), seq .. '-0', 'm', acceptedAt .. ' ' .. now .. ' ' .. keys, 'p', payload)
    if lane == 'events' then
      remember(list, seq, now, maxAge, maxSeen)
      trimSeen(now, maxAge, maxSeen, 2)
    end
    added[lane][1] = added[lane][1] + 1
    added[lane][2] = added[lane][2] + #payload + 1
    taken[#taken + 1] = seq
  end
end
for lane, sums in pairs(added) do
  for _, name in ipairs({'count', 'ready', 'accepted'}) do count(lane, name, sums[1]) end
  for _, name in ipairs({'bytes', 'readyBytes'}) do count(lane, name, sums[2]) end
end
return {taken, view(now)}
`,
);
