import { createHash } from 'node:crypto'
import { HEAD_FORMAT } from './layout.ts'

/** A script that the server keeps under the SHA-1 of its text. */
export interface Script {
  readonly name: string
  readonly text: string
  readonly sha: string
}

function script(name: string, text: string): Script {
  return { name, text, sha: createHash('sha1').update(text).digest('hex') }
}

/** How much longer keys live than the sections in them: whether a section has ended is told by its header alone. */
const EXPIRY_GRACE_MS = 60_000

/** Reads heads; in a section's header stand lane 6, position 8, levels 2, flags and length 4 bytes. */
const SECTION = `
local function get(key)
  local head = redis.call('GET', key)
  if head and head:byte(1) ~= ${HEAD_FORMAT} then error('head of another format: ' .. key) end
  return head
end
local function section(head, p)
  local position, levels, length = struct.unpack('<i8I2I4', head, p + 6)
  local expires, first = 0, p + 20
  if length >= 2147483648 then
    length = length - 2147483648
    expires = struct.unpack('<i8', head, first)
    first = first + 8
  end
  local beside = length >= 1073741824
  if beside then length = length - 1073741824 end
  return position, levels, beside, expires, first + length
end
`

/** Those of the ids (eight bytes each) whose level is in the mask, read for one lane into \`reply\`. */
const BLOCKS = `
local function blocks(key, lane, levels, ids, reply)
  local fields, count = {}, 0
  for i = 1, #ids, 8 do
    if bit.band(bit.rshift(levels, ids:byte(i) % 16), 1) == 1 then
      count = count + 1
      fields[count] = lane .. ids:sub(i, i + 7)
    end
  end
  for from = 1, count, 1000 do
    local values = redis.call('HMGET', key, unpack(fields, from, math.min(from + 999, count)))
    for i = 1, #values do reply[#reply + 1] = values[i] end
  end
end
`

/**
 * One shard of a flush.
 *
 * KEYS: canary, a head for each write, the hashes of blocks of those that declare one.
 * ARGV: now, expected offset, next canary, lane, number of writes, extras, whether a head comes twice, an image for each
 * write, then fields and values of blocks. Extras, for writes with a base or blocks: number of the write, base, place of
 * the hash in KEYS or 0, place of the first field in ARGV, number of blocks, number of drops, then level and index of
 * each drop.
 *
 * Answers {0, canary} fenced, {1, canary, refused} written, {2, number of a write} where its hash must be declared.
 * All that can fail is done before the first write; the head of an entity follows its blocks, the canary comes last.
 */
export const FLUSH = script(
  'flush',
  `#!lua
local canary = redis.call('GET', KEYS[1])
if not canary then return {0} end
local stored = struct.unpack('<i8', canary)
if stored < tonumber(ARGV[2]) then return {0, canary} end
local now, lane, count, extras, repeated = tonumber(ARGV[1]), ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7] == '1'
local FIRST = 7
${SECTION}
-- What a head holds: this lane's section, and the bytes of the others; ended sections are left out.
local function scan(head)
  local found = { rest = '', restExpires = -1 }
  local size, p, run = #head, 2, nil
  while p <= size do
    local position, levels, beside, expires, after = section(head, p)
    local owner = head:sub(p, p + 5)
    local ended = expires > 0 and expires <= now
    if expires > 0 then found.timed = true end
    if ended or owner == lane then
      if run then
        found.rest = found.rest .. head:sub(run, p - 1)
        run = nil
      end
      if not ended then
        found.position, found.levels, found.beside = position, levels, beside
      elseif beside then
        found.purge = found.purge or {}
        found.purge[owner] = true
      end
    else
      run = run or p
      if expires == 0 then found.restExpires = 0
      elseif found.restExpires ~= 0 and expires > found.restExpires then found.restExpires = expires end
    end
    p = after
  end
  if run then found.rest = found.rest .. head:sub(run) end
  return found
end

local NONE = { absent = true, rest = '', restExpires = -1 }
local function look(w)
  local head = get(KEYS[w + 1])
  return head and scan(head) or NONE
end

local extra, p = {}, 1
while p <= #extras do
  local w, base, key, first, blocks, drops
  w, base, key, first, blocks, drops, p = struct.unpack('<I4i8I4I4I4I4', extras, p)
  extra[w] = { base = base, key = KEYS[key], first = first, blocks = blocks, drops = drops, dropsAt = p }
  p = p + 10 * drops
end

local found = {}
for w = 1, count do
  local one, beside = look(w), extra[w]
  found[w] = one
  if beside and beside.base >= 0 and (not one.position or one.position < beside.base) then return {0, canary} end
end
for w = 1, count do
  local one = found[w]
  if (one.beside or one.purge) and not (extra[w] and extra[w].key) then
    local position = struct.unpack('<i8', ARGV[FIRST + w], 8)
    if not one.position or one.position < position then return {2, w} end
  end
end
for w = 1, count do
  if extra[w] and extra[w].key then redis.call('HLEN', extra[w].key) end
end

-- Forgets blocks that are dropped, of levels that are no more, or of ended sections.
local function forget(key, one, levels, beside)
  local fewer = one.position and bit.band(one.levels, bit.bnot(levels)) ~= 0
  if not one.purge and not fewer and not (one.beside and beside.drops > 0) then return end
  local gone = {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local owner = field:sub(1, 6)
    local drop = one.purge and one.purge[owner]
    if owner == lane and #field > 6 and not drop then
      local id = struct.unpack('<i8', field, 7)
      local level = id % 16
      local index = (id - level) / 16
      drop = fewer and bit.band(bit.rshift(levels, level), 1) == 0
      for i = 0, beside.drops - 1 do
        local dropLevel, below = struct.unpack('<I2i8', extras, beside.dropsAt + 10 * i)
        if level == dropLevel and index < below then drop = true end
      end
    end
    if drop then gone[#gone + 1] = field end
  end
  for from = 1, #gone, 1000 do
    redis.call('HDEL', key, unpack(gone, from, math.min(from + 999, #gone)))
  end
end

local refused = 0
for w = 1, count do
  local one, image, beside, head = found[w], ARGV[FIRST + w], extra[w], KEYS[w + 1]
  if repeated then one = look(w) end
  local position, levels, _, expires, after = section(image, 2)
  if one.position and one.position >= position then
    refused = refused + 1
  else
    local key = beside and beside.key
    if key then
      if one.absent then redis.call('DEL', key) else forget(key, one, levels, beside) end
      local last = beside.first + 2 * beside.blocks - 1
      for from = beside.first, last, 1000 do
        redis.call('HSET', key, unpack(ARGV, from, math.min(from + 999, last)))
      end
      if levels ~= 0 then
        redis.call('HSET', key, lane, image:sub(8, 15))
      elseif one.beside then
        redis.call('HDEL', key, lane)
      end
      if levels == 0 and beside.blocks == 0 and redis.call('EXISTS', key) == 0 then
        local length = struct.unpack('<I4', image, 18)
        image = image:sub(1, 17) .. struct.pack('<I4', length - 1073741824) .. image:sub(22)
      end
    end
    if one.rest ~= '' then image = image .. one.rest end
    if expires > 0 and one.restExpires ~= 0 then
      local ttl = math.max(expires, one.restExpires) - now + ${EXPIRY_GRACE_MS}
      if key then redis.call('PEXPIRE', key, ttl) end
      redis.call('SET', head, image, 'PX', ttl)
    else
      if key and one.timed then redis.call('PERSIST', key) end
      redis.call('SET', head, image)
    end
  end
end
if struct.unpack('<i8', ARGV[3]) > stored then
  redis.call('SET', KEYS[1], ARGV[3])
  canary = ARGV[3]
end
return {1, canary, refused}
`,
)

/**
 * Canaries brought forward where nothing else is written, each by itself.
 *
 * KEYS: canaries. ARGV: for each the expected offset and the next canary, packed.
 *
 * Answers for each {0, canary} fenced, or {1, canary}.
 */
export const ADVANCE = script(
  'advance',
  `#!lua
local reply = {}
for i = 1, #KEYS do
  local canary, asked = redis.call('GET', KEYS[i]), ARGV[i]
  if not canary then
    reply[i] = {0}
  else
    local stored = struct.unpack('<i8', canary)
    if stored < struct.unpack('<i8', asked) then
      reply[i] = {0, canary}
    else
      if struct.unpack('<i8', asked, 9) > stored then
        canary = asked:sub(9)
        redis.call('SET', KEYS[i], canary)
      end
      reply[i] = {1, canary}
    end
  end
end
return reply
`,
)

/**
 * A writer's load of one shard.
 *
 * KEYS: canary, a head for each key, the hashes of blocks of those that ask for some.
 * ARGV: now, expected offset, lane, number of heads, the ids asked of each head.
 *
 * Answers {0, canary} fenced, or 1 and for each head nothing, the section, or the section and those of the asked blocks
 * whose level it has, in the order of the ids.
 */
export const LOAD = script(
  'load',
  `#!lua flags=no-writes
local canary = redis.call('GET', KEYS[1])
if not canary then return {0} end
if struct.unpack('<i8', canary) < tonumber(ARGV[2]) then return {0, canary} end
local now, lane, count = tonumber(ARGV[1]), ARGV[3], tonumber(ARGV[4])
${SECTION}${BLOCKS}
local reply, hash = {1}, count + 1
for i = 1, count do
  local ids, key = ARGV[4 + i], nil
  if ids ~= '' then
    hash = hash + 1
    key = KEYS[hash]
  end
  local head, answer = get(KEYS[i + 1]), false
  local p, size = 2, head and #head or 0
  while p <= size do
    local _, levels, _, expires, after = section(head, p)
    if head:sub(p, p + 5) == lane then
      if expires == 0 or expires > now then
        answer = head:sub(p, after - 1)
        if key and levels ~= 0 then
          answer = { answer }
          blocks(key, lane, levels, ids, answer)
        end
      end
      break
    end
    p = after
  end
  reply[i + 1] = answer
end
return reply
`,
)

/**
 * Heads and blocks of one moment.
 *
 * KEYS: a head and its hash of blocks, for each key. ARGV: the ids asked of each.
 *
 * Answers for each key the head and, section by section in its order, those of the asked blocks whose level the section
 * has, in the order of the ids.
 */
export const READ = script(
  'read',
  `#!lua flags=no-writes
${SECTION}${BLOCKS}
local reply = {}
for i = 1, #ARGV do
  local head, ids = get(KEYS[2 * i - 1]), ARGV[i]
  local answer = { head }
  local p, size = 2, head and #head or 0
  while p <= size do
    local _, levels, _, _, after = section(head, p)
    if levels ~= 0 then blocks(KEYS[2 * i], head:sub(p, p + 5), levels, ids, answer) end
    p = after
  end
  reply[i] = answer
end
return reply
`,
)

/**
 * Canaries where none are, with the name of their incarnation.
 *
 * KEYS: a canary and a hash of incarnation names, for each shard. ARGV: first canary, id, name.
 *
 * Answers the canaries that are stored afterwards; or, with nothing written, the other name that has this id.
 */
export const INITIALISE = script(
  'initialise',
  `#!lua
for i = 2, #KEYS, 2 do
  local name = redis.call('HGET', KEYS[i], ARGV[2])
  if name and name ~= ARGV[3] then return name end
end
local reply = {}
for i = 1, #KEYS, 2 do
  redis.call('HSET', KEYS[i + 1], ARGV[2], ARGV[3])
  local canary = redis.call('GET', KEYS[i])
  if not canary then
    redis.call('SET', KEYS[i], ARGV[1])
    canary = ARGV[1]
  end
  reply[#reply + 1] = canary
end
return reply
`,
)

/** Compare and set of a document. KEYS: document. ARGV: '1' where a text is expected, that text, the next. */
export const DOCUMENT = script(
  'document',
  `#!lua
local text = redis.call('GET', KEYS[1])
if ARGV[1] == '1' then
  if text ~= ARGV[2] then return 0 end
elseif text then
  return 0
end
redis.call('SET', KEYS[1], ARGV[3])
return 1
`,
)

/** All of them. */
export const SCRIPTS: readonly Script[] = [FLUSH, ADVANCE, LOAD, READ, INITIALISE, DOCUMENT]
