import { rateMemoryMs, reopenAt } from '../admission.js';
import { deadLettersLua } from './dead-letters-lua.js';
import { libLua, toScript } from './lib-script.js';
import { dedupeLua } from './dedupe-lua.js';

/**
 * now, wall, relay, lane, maxCount, maxBytes, the log's count and age, maxDeadLetters, and the
 * settlement as JSON (`settlement.ts`), the change → {dropped letters, view}. What this relay does not hold is left alone.
 */
export const settleScript = toScript(
  'settle',
  `${libLua}${dedupeLua}${deadLettersLua}
local now, wall = toNow(ARGV[1]), tonumber(ARGV[2])
local relay, lane = ARGV[3], ARGV[4]
local maxCount, maxBytes = tonumber(ARGV[5]), tonumber(ARGV[6])
local logCount, logAge, maxLetters = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local settlement = cjson.decode(ARGV[10])
local meta = K .. ':meta'
local sums = {count = 0, bytes = 0, delivered = 0, merged = 0, buried = 0}
local follows = false
local ranges = {d = {}, m = {}}
evenWhenFull()
noteChange()

local function bury(seq, keys, letter)
  local found = content(lane, seq)
  shelve(lane, seq, letter, found and found.p or '')
  if lane == 'events' then forget(keys, seq) end
end

local function remove(seqs)
  if #seqs == 0 then return end
  local ids, there = {}, 0
  for index, seq in ipairs(seqs) do ids[index] = seq .. '-0' end
  for _, reply in ipairs(bulk('XDEL', key(lane, 'queue'), ids)) do there = there + reply end
  if there < #ids then
    bulk('HDEL', key(lane, 'redriven'), seqs)
    bulk('ZREM', key(lane, 'redriven-at'), seqs)
  end
  bulk('HDEL', key(lane, 'tries'), seqs)
  bulk('HDEL', key(lane, 'claimed'), seqs)
end

local asked, gone, freed, held = {}, {}, {}, 0
for index, one in ipairs(settlement.settled) do asked[index] = one[1] end
local owners = fields(key(lane, 'claimed'), asked)
for _, one in ipairs(settlement.settled) do
  local seq, claim, verdict, weight, keys, text = one[1], one[2], one[3], one[4], one[5], one[6]
  -- A server that lost some numbers gives them out again: the claim tells one from the other.
  if owners[seq] == relay .. '/' .. claim then
    -- Settled twice in one settlement, it is settled once.
    owners[seq] = false
    held = held + 1
    if verdict == 'r' then
      redis.call('HDEL', key(lane, 'claimed'), seq)
      redis.call('HSET', key(lane, 'tries'), seq, settlement.texts[text])
      redis.call('ZADD', key(lane, 'delayed'), now + one[7], seq)
    elseif verdict == 'f' then
      redis.call('HSET', key(lane, 'tries'), seq, settlement.texts[text])
      follows = true
    else
      if verdict == 'b' then bury(seq, keys, settlement.texts[text]) end
      gone[#gone + 1] = seq
      sums.count = sums.count + 1
      sums.bytes = sums.bytes + weight
      local how = verdict == 'b' and 'buried' or verdict == 'm' and 'merged' or 'delivered'
      sums[how] = sums[how] + 1
      if ranges[verdict] then ranges[verdict][#ranges[verdict] + 1] = seq end
      for _, each in ipairs(keys) do freed[#freed + 1] = each end
    end
  end
end
remove(gone)
release(lane, freed)

-- An import job is known as long as one of its envelopes waits for it: whoever was taken for dead
-- must not end it for those who took it over, or are about to.
local function isAwaited(ref)
  local text = redis.call('HGET', key(lane, 'imports'), ref)
  local tries = fields(key(lane, 'tries'), text and cjson.decode(text).seqs or {})
  for _, tried in pairs(tries) do
    if tried and cjson.decode(tried).ref == ref then return true end
  end
  return false
end
for _, ref in ipairs(settlement.ended) do
  if not isAwaited(ref) then redis.call('HDEL', key(lane, 'imports'), ref) end
end
-- More is known of a job that is open: its envelopes stay as they are.
local open = settlement.following and redis.call('HGET', key(lane, 'imports'), settlement.following)
if open then
  local seqs = string.match(open, '"seqs":%b[]}$')
  redis.call('HSET', key(lane, 'imports'), settlement.following, '{"delivery":' .. settlement.delivery.text .. ',' .. seqs)
end
if settlement.import and follows then redis.call('HSET', key(lane, 'imports'), settlement.import.ref, settlement.import.text) end

count(lane, 'count', -sums.count)
count(lane, 'bytes', -sums.bytes)
for _, name in ipairs({'delivered', 'merged', 'buried'}) do count(lane, name, sums[name]) end
if sums.count > 0 then
  local drained = redis.call('HMGET', meta, 'drainedCount', 'drainedBytes', 'drainedAt')
  local factor = math.exp((number(drained[3]) - now) / ${rateMemoryMs})
  redis.call('HSET', meta, 'drainedCount', number(drained[1]) * factor + sums.count,
    'drainedBytes', number(drained[2]) * factor + sums.bytes, 'drainedAt', now)
  if redis.call('HGET', meta, 'full') == '1' and isBelow(${reopenAt}, maxCount, maxBytes) then redis.call('HDEL', meta, 'full') end
end

local dropped = dropLetters(maxLetters)

local function writeRanges(order, verdict, merged)
  local seqs = ranges[verdict]
  table.sort(seqs)
  local text = redis.call('HGET', K .. ':delivery-ranges', order) or ''
  local index = 1
  while index <= #seqs do
    local last = index
    while seqs[last + 1] == seqs[last] + 1 do last = last + 1 end
    local member = seqs[index] .. ' ' .. seqs[last] .. ' ' .. order .. ' ' .. merged
    redis.call('ZADD', key(lane, 'settled'), seqs[last], member)
    text = text .. lane .. ' ' .. member .. '\\n'
    index = last + 1
  end
  if text ~= '' then redis.call('HSET', K .. ':delivery-ranges', order, text) end
end

local function dropDelivery(order, delivery)
  local text = redis.call('HGET', K .. ':delivery-ranges', order) or ''
  for name, member in string.gmatch(text, '(%a+) ([^\\n]+)\\n') do redis.call('ZREM', key(name, 'settled'), member) end
  redis.call('HDEL', K .. ':delivery-ranges', order)
  redis.call('HDEL', K .. ':deliveries', order)
  redis.call('HDEL', K .. ':delivery-orders', delivery.id)
end

-- A request that was made is written down whoever holds its envelopes by now; what became of it
-- later is told by those who hold them.
local known = settlement.delivery and redis.call('HGET', K .. ':delivery-orders', settlement.delivery.id)
if settlement.delivery and (held > 0 or settlement.count == 0 or not known) then
  local id = settlement.delivery.id
  local order = known or redis.call('HINCRBY', meta, 'delivery', 1)
  redis.call('HSET', K .. ':delivery-orders', id, order)
  redis.call('HSET', K .. ':deliveries', order, settlement.delivery.text)
  writeRanges(order, 'd', '0')
  writeRanges(order, 'm', '1')
  local last = number(redis.call('HGET', meta, 'delivery'))
  local first = number(redis.call('HGET', meta, 'firstDelivery') or 1)
  for _ = 1, 1000 do
    local text = first <= last and redis.call('HGET', K .. ':deliveries', first)
    if first > last then break end
    local delivery = text and cjson.decode(text)
    if delivery and last - first < logCount and delivery.at >= wall - logAge then break end
    if delivery then dropDelivery(first, delivery) end
    first = first + 1
  end
  redis.call('HSET', meta, 'firstDelivery', first)
end
return {dropped, view(now)}
`,
);
