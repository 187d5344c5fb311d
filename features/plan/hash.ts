import { createHash } from 'node:crypto'
import { canonicalJson } from './canonical.ts'

/** SHA-256 of a value's canonical JSON, as 64 hex digits. Throws `TypeError` for what JSON cannot carry. */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex')
}
