const SEED = 0x9747b28c
const MULTIPLIER = 0x5bd1e995

/**
 * 32-bit murmur2 as Apache Kafka computes it (`org.apache.kafka.common.utils.Utils.murmur2`): Austin Appleby's
 * MurmurHash2 with seed 0x9747b28c. Returns a signed 32-bit integer.
 */
export function murmur2(bytes: Uint8Array): number {
  const length = bytes.length
  const blocks = length & ~3
  let hash = SEED ^ length
  for (let i = 0; i < blocks; i += 4) {
    let block =
      byteAt(bytes, i) | (byteAt(bytes, i + 1) << 8) | (byteAt(bytes, i + 2) << 16) | (byteAt(bytes, i + 3) << 24)
    block = Math.imul(block, MULTIPLIER)
    block ^= block >>> 24
    hash = Math.imul(hash, MULTIPLIER) ^ Math.imul(block, MULTIPLIER)
  }
  const tail = length - blocks
  if (tail === 3) hash ^= byteAt(bytes, blocks + 2) << 16
  if (tail >= 2) hash ^= byteAt(bytes, blocks + 1) << 8
  if (tail >= 1) hash = Math.imul(hash ^ byteAt(bytes, blocks), MULTIPLIER)
  hash = Math.imul(hash ^ (hash >>> 13), MULTIPLIER)
  return hash ^ (hash >>> 15)
}

/**
 * The partition of a key, 0 to `partitions` − 1, as Kafka's default partitioner chooses it: murmur2 of the key's UTF-8
 * bytes without its sign bit, modulo the number of partitions.
 */
export function partitionOf(keyBytes: Uint8Array, partitions: number): number {
  return (murmur2(keyBytes) & 0x7fffffff) % partitions
}

function byteAt(bytes: Uint8Array, index: number): number {
  return bytes[index] ?? 0
}
