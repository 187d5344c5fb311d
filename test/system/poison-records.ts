import { gzipSync } from 'node:zlib'
import type { DecodeErrorCode } from '../../features/plan/event.ts'

/** A record that is no event: its bytes, why it must be refused, and what else a foreign producer may do. */
export interface Poison {
  readonly name: string
  readonly code: DecodeErrorCode
  readonly value: Uint8Array
  /** undefined: the key of a good neighbour; null: none. */
  readonly key?: string | null
  readonly headers?: Readonly<Record<string, string>>
}

/** A good transfer as it is written to the topic. */
export interface Transfer {
  readonly transfer_id: string
  readonly at: number
  readonly card: string
  readonly shop: string
  readonly amount: number
  readonly units: number
  readonly serial: string
  readonly rate: number
  readonly vip: boolean
  readonly place: readonly [number, number]
}

const utf8 = new TextEncoder()
const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from(values)

/**
 * Every kind of record that a topic may hold and that is no transfer.
 * @param good a transfer that is valid; what is wrong with the others is one thing
 * @param maxRecordBytes the most that the log takes in one record; more than 1 MiB and a little
 */
export function poisonRecords(good: Transfer, maxRecordBytes: number): readonly Poison[] {
  const json = (fields: Readonly<Record<string, unknown>>): string => JSON.stringify({ ...good, ...fields })
  const text = JSON.stringify(good)
  const replaced = (from: string, to: string): string => {
    if (!text.includes(from)) throw new Error(`the good record has no ${from}`)
    return text.replace(from, to)
  }
  const raw: readonly Poison[] = [
    { name: 'nothing', code: 'NOT_JSON', value: bytes() },
    { name: 'nothing, without a key', code: 'NOT_JSON', value: bytes(), key: null },
    { name: 'random bytes', code: 'NOT_UTF8', value: bytes(0x9f, 0x13, 0xc0, 0xff, 0x00, 0x7b, 0x22, 0x8e, 0xe2) },
    { name: 'UTF-8 that is cut', code: 'NOT_UTF8', value: bytes(0x7b, 0x22, 0xe2, 0x82) },
    { name: 'an overlong slash', code: 'NOT_UTF8', value: bytes(0x22, 0xc0, 0xaf, 0x22) },
    { name: 'a surrogate as bytes', code: 'NOT_UTF8', value: bytes(0x22, 0xed, 0xa0, 0x80, 0x22) },
    { name: 'a schema number and bytes, as Avro', code: 'NOT_JSON', value: bytes(0, 0, 0, 0, 7, 2, 0x61, 0x06) },
    { name: 'a zero byte alone', code: 'NOT_JSON', value: bytes(0) },
    { name: 'gzip', code: 'NOT_UTF8', value: new Uint8Array(gzipSync(text)) },
    { name: 'UTF-16', code: 'NOT_UTF8', value: new Uint8Array(Buffer.from(`\ufeff${text}`, 'utf16le')) },
    { name: 'UTF-16 without a mark', code: 'NOT_JSON', value: new Uint8Array(Buffer.from(text, 'utf16le')) },
    {
      name: 'text that fills the record',
      code: 'NOT_JSON',
      value: new Uint8Array(1_048_576).fill(0x78),
      key: 'k'.repeat(maxRecordBytes - 1_048_576 - 64),
    },
    { name: 'a byte beyond 1 MiB', code: 'RECORD_TOO_LARGE', value: new Uint8Array(1_048_577).fill(0x7b), key: null },
    {
      name: 'headers that steer terminals',
      code: 'NOT_JSON',
      value: utf8.encode('\u001b]0;owned\u0007\u001b[2J{'),
      headers: { 'hw-code': 'FORGED', 'hw-replays': 'many', '\u001b[31m': '\u202egnp.exe' },
      key: 'k\u0000\u001b[7m',
    },
    {
      name: 'headers that fill the record',
      code: 'NOT_JSON',
      value: utf8.encode('x'),
      headers: { big: '\u0001'.repeat(Math.floor(maxRecordBytes / 6) - 64) },
    },
    {
      name: 'a key that fills the record',
      code: 'NOT_JSON',
      value: utf8.encode('{'),
      key: 'k'.repeat(maxRecordBytes - 64),
    },
  ]
  const texts: readonly (readonly [name: string, code: DecodeErrorCode, text: string])[] = [
    ['words', 'NOT_JSON', 'hello'],
    ['JSON that is cut', 'NOT_JSON', text.slice(0, -5)],
    ['something behind the end', 'NOT_JSON', `${text} x`],
    ['two documents', 'NOT_JSON', `${text}\n${text}`],
    ['a byte order mark twice', 'NOT_JSON', `\ufeff\ufeff${text}`],
    ['a bare NaN', 'NOT_JSON', replaced('"amount":', '"amount":NaN,"x":')],
    ['single quotes', 'NOT_JSON', text.replaceAll('"', "'")],
    ['a raw control character', 'NOT_JSON', replaced('"shop":"', '"shop":"\u0000')],
    ['nothing but blanks', 'NOT_JSON', ' \n\t '],
    ['100,000 brackets', 'NOT_JSON', '['.repeat(100_000)],
    ['100,000 nested lists', 'NOT_AN_OBJECT', `${'['.repeat(5_000)}${']'.repeat(5_000)}`],
    ['a list', 'NOT_AN_OBJECT', `[${text}]`],
    ['a number', 'NOT_AN_OBJECT', '17'],
    ['a string', 'NOT_AN_OBJECT', '"x"'],
    ['null', 'NOT_AN_OBJECT', 'null'],
    ['an empty object', 'MISSING_ID', '{}'],
    ['an empty id', 'MISSING_ID', json({ transfer_id: '' })],
    ['a null id', 'MISSING_ID', json({ transfer_id: null })],
    ['no id', 'MISSING_ID', json({ transfer_id: undefined })],
    [
      'the id null in its second place',
      'MISSING_ID',
      replaced('{', '{"transfer_id":"a",').replace(/"transfer_id":"g[^"]*"/, '"transfer_id":null'),
    ],
    ['no shop', 'MISSING_FIELD', json({ shop: undefined })],
    ['a null amount', 'MISSING_FIELD', json({ amount: null })],
    ['an unknown field', 'UNKNOWN_FIELD', json({ colour: 'red' })],
    ['a field named __proto__', 'UNKNOWN_FIELD', replaced('{', '{"__proto__":{"vip":false},')],
    ['a number as a card', 'WRONG_TYPE', json({ card: 7 })],
    ['an object as a shop', 'WRONG_TYPE', json({ shop: { deep: { deeper: [1] } } })],
    ['text as an amount', 'WRONG_TYPE', json({ amount: 'abc' })],
    ['a boolean as an amount', 'WRONG_TYPE', json({ amount: true })],
    ['half a unit', 'WRONG_TYPE', json({ units: 1.5 })],
    ['a text as a boolean', 'WRONG_TYPE', json({ vip: 'true' })],
    ['a number as a vector', 'WRONG_TYPE', json({ place: 3 })],
    ['a text inside a vector', 'WRONG_TYPE', json({ place: [1, 'x'] })],
    ['a text as a double', 'WRONG_TYPE', json({ rate: '1.5' })],
    ['words as an int64', 'WRONG_TYPE', json({ serial: 'seven' })],
    ['a list as a time', 'WRONG_TYPE', json({ at: [1] })],
    ['a string of 1 MiB', 'STRING_TOO_LONG', json({ note: 'x'.repeat(1_000_000) })],
    ['a string a byte too long', 'STRING_TOO_LONG', json({ note: 'x'.repeat(65_537) })],
    ['half a surrogate pair, escaped', 'MALFORMED_STRING', replaced('"shop":"', '"shop":"\\ud800')],
    ['the other half', 'MALFORMED_STRING', replaced('"shop":"', '"shop":"\\udc00')],
    ['2^53 as an int', 'OUT_OF_RANGE', json({ units: 9_007_199_254_740_992 })],
    ['2^63 as an int64', 'OUT_OF_RANGE', json({ serial: '9223372036854775808' })],
    ['a number of 400 digits', 'OUT_OF_RANGE', replaced('"units":', `"units":${'9'.repeat(400)},"x":`)],
    ['a double beyond all doubles', 'OUT_OF_RANGE', replaced('"rate":', '"rate":1e400,"x":')],
    ['1e300 as a decimal', 'OUT_OF_RANGE', json({ amount: 1e300 })],
    ['a time before March 1973 behind zero', 'OUT_OF_RANGE', json({ at: '1960-01-01T00:00:00Z' })],
    ['a time beyond the calendar', 'OUT_OF_RANGE', json({ at: 9e15 })],
    ['three decimals', 'TOO_MANY_DECIMALS', json({ amount: 1.234 })],
    [
      'forty decimals',
      'TOO_MANY_DECIMALS',
      replaced('"amount":', '"amount":0.1000000000000000000000000000000000000001,"x":'),
    ],
    ['infinity in a vector', 'NOT_FINITE', text.replace(/"place":\[[^\]]*\]/, '"place":[1e999,0]')],
    ['a decimal beyond all doubles', 'OUT_OF_RANGE', replaced('"amount":', '"amount":1e999,"x":')],
    ['a vector of three', 'VECTOR_LENGTH', json({ place: [1, 2, 3] })],
    ['an empty vector', 'VECTOR_LENGTH', json({ place: [] })],
    ['yesterday', 'BAD_TIME', json({ at: 'yesterday' })],
    ['a day that is none', 'BAD_TIME', json({ at: '2026-02-30T00:00:00Z' })],
    ['a time without a zone', 'BAD_TIME', json({ at: '2026-02-03T00:00:00' })],
    ['a time in seconds', 'LOOKS_LIKE_SECONDS', json({ at: Math.floor(good.at / 1000) })],
    ['zero as a time', 'LOOKS_LIKE_SECONDS', json({ at: 0 })],
    ['the year 2099', 'FUTURE', json({ at: Date.UTC(2099, 0, 1) })],
    ['an hour ahead', 'FUTURE', json({ at: good.at + 3_600_000 })],
  ]
  return [...raw, ...texts.map(([name, code, value]) => ({ name, code, value: utf8.encode(value) }))]
}

/** Records that look strange and are transfers all the same: what they must be read as. */
export function strangeTransfers(good: Transfer): readonly { readonly name: string; readonly value: Uint8Array }[] {
  const text = JSON.stringify(good)
  return [
    { name: 'a byte order mark', value: utf8.encode(`\ufeff${text}`) },
    { name: 'blanks all around', value: utf8.encode(`\n\t ${text} \n`) },
    { name: 'a field twice, the last one good', value: utf8.encode(text.replace('{', '{"shop":17,')) },
    { name: 'escapes everywhere', value: utf8.encode(text.replaceAll('shop', '\\u0073hop')) },
  ]
}
