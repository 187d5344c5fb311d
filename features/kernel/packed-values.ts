import type { UnitSpec } from './types.ts'

/** Widths in which whole numbers are stored; 8 stands for what no narrower one holds. */
export type NumberWidth = 1 | 2 | 4 | 8

/** The narrowest width of signed integers that holds all the values; 8 when one is not whole or too large. */
export function signedWidth(values: Iterable<number>): NumberWidth {
  let width: NumberWidth = 1
  for (const value of values) {
    if ((value | 0) !== value) return 8
    if (width === 1 && (value < -0x80 || value > 0x7f)) width = 2
    if (width === 2 && (value < -0x8000 || value > 0x7fff)) width = 4
  }
  return width
}

/** The narrowest width of unsigned integers that holds a whole number of at most 2^32 − 1; 8 beyond. */
export function unsignedWidth(greatest: number): NumberWidth {
  return greatest <= 0xff ? 1 : greatest <= 0xffff ? 2 : greatest <= 0xffffffff ? 4 : 8
}

/** Reads an unsigned integer of 1, 2 or 4 bytes. */
export function readUnsigned(view: DataView, at: number, width: number): number {
  if (width === 2) return view.getUint16(at, true)
  return width === 4 ? view.getUint32(at, true) : view.getUint8(at)
}

/** Reads a signed integer of 1, 2 or 4 bytes, or a double of 8. */
export function readNumber(view: DataView, at: number, width: number): number {
  if (width === 8) return view.getFloat64(at, true)
  if (width === 4) return view.getInt32(at, true)
  return width === 2 ? view.getInt16(at, true) : view.getInt8(at)
}

/** The width of a stored mask: 0, 1, 2 or 4 bytes. */
export function maskBytesOf(spec: UnitSpec): number {
  return spec.filterCount === 0 ? 0 : spec.filterCount <= 8 ? 1 : spec.filterCount <= 16 ? 2 : 4
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const WHOLE = /^(0|[1-9][0-9]{0,14})$/

/** How ids are stored: as text, as the 16 bytes of a UUID, or as whole numbers. */
export type IdForm = 'text' | 'uuid' | 'whole'

/** The most compact form that gives every id back exactly. */
export function idForm(ids: Iterable<string>): IdForm {
  let uuid = true
  let whole = true
  for (const id of ids) {
    uuid &&= UUID.test(id)
    whole &&= WHOLE.test(id)
    if (!uuid && !whole) return 'text'
  }
  return whole ? 'whole' : 'uuid'
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** The text of the UUID whose 16 bytes start at `at`. */
export function readUuid(bytes: Uint8Array, at: number): string {
  let text = ''
  for (let index = 0; index < 16; index++) {
    if (index === 4 || index === 6 || index === 8 || index === 10) text += '-'
    text += HEX[bytes[at + index]!]!
  }
  return text
}

/** Writes the 16 bytes of a UUID's text. */
export function writeUuid(text: string, bytes: Uint8Array, at: number): void {
  let from = 0
  for (let index = 0; index < 16; index++) {
    if (text.charCodeAt(from) === 45) from++
    bytes[at + index] = Number.parseInt(text.slice(from, from + 2), 16)
    from += 2
  }
}
