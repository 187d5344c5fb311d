import { keyText } from './event.ts'
import type { Cell } from '../kernel/types.ts'

const NEEDS_ESCAPE = /[\\|]/g

/**
 * The text that names an entity of several key parts, each part as `keyText` gives it: the parts with a bar between
 * them, where a backslash stands before every bar and every backslash within a part. So different lists of parts have
 * different texts. A single part is its own text, unchanged.
 */
export function joinKey(parts: readonly string[]): string {
  if (parts.length === 1) return parts[0]!
  return parts.map(part => part.replace(NEEDS_ESCAPE, '\\$&')).join('|')
}

/**
 * Names the entity of an event from its cells; null where a part is null, so that the event does not concern the entity.
 * @param indexes places of the key fields among the cells, in the order of the entity's key
 */
export function entityNamer(indexes: readonly number[]): (cells: readonly Cell[]) => string | null {
  const [first = -1] = indexes
  if (indexes.length === 1) return cells => keyText(cells[first] ?? null)
  return cells => {
    const parts: string[] = []
    for (const index of indexes) {
      const part = keyText(cells[index] ?? null)
      if (part === null) return null
      parts.push(part)
    }
    return joinKey(parts)
  }
}
