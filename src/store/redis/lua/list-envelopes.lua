--- @include "lib.lua"
-- Reads a page of the unsettled envelopes of a lane.
--
-- ARGV     [1] lane; [2] `queue` or `redriven`; [3] where to continue: the last number, or the cursor of the
--          hash, 0 at the start; [4] most entries
-- Returns  {where to continue or '' at the end, {seq, 1 if in flight, m, payload, …}}
local lane, place, from, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local found, continuation = {}, ''
local function add(envelope)
  local last = #found
  found[last + 1] = envelope.seq
  found[last + 2] = redis.call('HEXISTS', laneKey(lane, 'claimed'), envelope.seq)
  found[last + 3], found[last + 4] = envelope.m, envelope.payload
end
if place == 'queue' then
  local entries = redis.call('XRANGE', laneKey(lane, 'queue'), '(' .. from .. '-0', '+', 'COUNT', most)
  for _, entry in ipairs(entries) do
    add(toEnvelope(string.match(entry[1], '^%d+'), entry[2][2], entry[2][4]))
  end
  if #entries == most then continuation = found[#found - 3] end
else
  local step = redis.call('HSCAN', laneKey(lane, 'redriven'), from, 'COUNT', most)
  if step[1] ~= '0' then continuation = step[1] end
  for index = 1, #step[2], 2 do
    local envelope = readEnvelope(lane, step[2][index])
    if envelope then add(envelope) end
  end
end
return { continuation, found }
