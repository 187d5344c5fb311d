/**
 * JSON with object keys in UTF-16 order, without white space, and without properties that are undefined: equal values
 * give equal text. Throws `TypeError` for what JSON cannot carry (NaN, infinities, bigints, functions).
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError(`canonical JSON cannot carry ${value}`)
    return JSON.stringify(value)
  }
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value === 'object') {
    const entries = Object.entries(value).filter(entry => entry[1] !== undefined)
    entries.sort((a, b) => (a[0] < b[0] ? -1 : 1))
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`
  }
  throw new TypeError(`canonical JSON cannot carry a ${typeof value}`)
}
