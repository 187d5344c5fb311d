import { SHARD_COUNT } from './online-store.ts'

const encoder = new TextEncoder()

/** 32-bit FNV-1a of the UTF-8 bytes, with a final avalanche so that close keys spread. Fixed for ever. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5
  for (const byte of encoder.encode(text)) {
    hash ^= byte
    hash = Math.imul(hash, 0x01000193)
  }
  hash ^= hash >>> 16
  hash = Math.imul(hash, 0x85ebca6b)
  hash ^= hash >>> 13
  hash = Math.imul(hash, 0xc2b2ae35)
  hash ^= hash >>> 16
  return hash >>> 0
}

/** The shard of an entity, 0 to 255; also its hash tag in a cluster. */
export function shardOf(entityType: string, entityId: string): number {
  return hash32(`${entityType}:${entityId}`) % SHARD_COUNT
}

/** `hw:<namespace>:{<shard>}:<entityType>:<entityId>:<unit>`. */
export function onlineKey(namespace: string, entityType: string, entityId: string, unit: number): string {
  return `hw:${namespace}:{${shardOf(entityType, entityId)}}:${entityType}:${entityId}:${unit}`
}
