import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { event, t } from '../../features/define/index.ts'
import type { Cell, FieldType } from '../../features/kernel/types.ts'
import {
  authorValues,
  DECODE_ERRORS,
  decodeFields,
  decodeJsonEvent,
  encodeJsonEvent,
  encodeJsonFields,
  eventDecoder,
  keyText,
  maxRecordBytes,
  maxStringBytes,
} from '../../features/plan/event.ts'
import type { DecodeResult } from '../../features/plan/event.ts'
import { everyField, sourceOf } from './source.ts'

const source = sourceOf(everyField)
const NOW = Date.UTC(2024, 4, 17, 12)
const AT = NOW - 60_000
const required = { id: '"e1"', at: String(AT), rs: '""', ri: '0', rd: '0', rb: 'false' }
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

/** A valid record with some fields replaced by JSON text; undefined removes one. */
function record(fields: Readonly<Record<string, string | undefined>>): Uint8Array {
  const entries = Object.entries({ ...required, ...fields }).filter(entry => entry[1] !== undefined)
  return bytes(`{${entries.map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(',')}}`)
}

function decode(fields: Readonly<Record<string, string | undefined>>): DecodeResult {
  return decodeJsonEvent(source, record(fields), NOW)
}

function cellOf(result: DecodeResult, name: string): Cell {
  if (!result.ok) throw new Error(`${result.code}: ${result.reason}`)
  return result.event.cells[source.fields.findIndex(field => field.name === name)] ?? null
}

const produced = new Set<string>()

function refusal(result: DecodeResult): string {
  if (result.ok) throw new Error(`accepted: ${String(result.event.cells)}`)
  produced.add(result.code)
  return `${result.code} ${result.reason}`
}

describe('a JSON record', () => {
  it.each<[string, string, Cell]>([
    ['s', '"Grüße 🦊"', 'Grüße 🦊'],
    ['s', '""', ''],
    ['s', 'null', null],
    ['b', 'true', true],
    ['i', '-0', 0],
    ['i', '5.0', 5],
    ['i', '1e3', 1000],
    ['i', '9007199254740991', 9007199254740991],
    ['i', '-9007199254740991', -9007199254740991],
    ['i', '9007199254740991.0', 9007199254740991],
    ['l', '9007199254740993', 9007199254740993n],
    ['l', '-9223372036854775808', -9223372036854775808n],
    ['l', '9223372036854775807', 9223372036854775807n],
    ['l', '"9223372036854775807"', 9223372036854775807n],
    ['l', '"-5"', -5n],
    ['l', '5', 5n],
    ['l', '-0', 0n],
    ['l', '9.007199254740993e15', 9007199254740993n],
    ['l', '10000000000000000000e-1', 1000000000000000000n],
    ['d', '1e308', 1e308],
    ['d', '-0.0', 0],
    ['d', '0.1234567890123456789', 0.12345678901234568],
    ['d', '1e-400', 0],
    ['m', '12.34', 1234],
    ['m', '"12.34"', 1234],
    ['m', '12.340', 1234],
    ['m', '12.340000000000000000', 1234],
    ['m', '-0.01', -1],
    ['m', '-0', 0],
    ['m', '1e2', 10000],
    ['m', '"1.5e-1"', 15],
    ['m', '0.29', 29],
    ['m', '1.1', 110],
    ['m', '90071992547409.91', 9007199254740991],
    ['m', '90071992547409.89', 9007199254740989],
    ['m', '"-90071992547409.91"', -9007199254740991],
    ['z', '9007199254740991', 9007199254740991],
    ['n', '0.000000001', 1],
    ['n', '9007199.254740991', 9007199254740991],
    ['w', '100000000000', 100000000000],
    ['w', '-100000000000', -100000000000],
    ['w', '4070908800000', 4070908800000],
    ['w', '1.7e12', 1_700_000_000_000],
    ['w', '"2024-02-29T23:59:59.123Z"', Date.UTC(2024, 1, 29, 23, 59, 59, 123)],
    ['w', '"2024-02-29T23:59:59.1239999Z"', Date.UTC(2024, 1, 29, 23, 59, 59, 123)],
    ['w', '"2024-02-29T23:59Z"', Date.UTC(2024, 1, 29, 23, 59)],
    ['w', '"2024-03-01T01:30:00+02:00"', Date.UTC(2024, 1, 29, 23, 30)],
    ['w', '"2024-02-29T18:00:00.5-0530"', Date.UTC(2024, 1, 29, 23, 30, 0, 500)],
    ['w', '"1965-07-04T00:00:00Z"', Date.UTC(1965, 6, 4)],
    ['w', '"0001-01-01T00:00:00Z"', -62135596800000],
    ['v', '[1,-0,2.5e3]', [1, 0, 2500]],
  ])('%s: %s is taken exactly', (name, text, cell) => {
    expect(cellOf(decode({ [name]: text }), name)).toStrictEqual(cell)
  })

  it.each([
    [{ s: '5' }, 'WRONG_TYPE', 'field "s": expected a string, found 5'],
    [{ s: `"${'x'.repeat(maxStringBytes + 1)}"` }, 'STRING_TOO_LONG', `${maxStringBytes + 1} bytes`],
    [{ s: `"${'ü'.repeat(maxStringBytes / 2)}x"` }, 'STRING_TOO_LONG', `${maxStringBytes + 1} bytes`],
    [{ s: '"a\\ud800"' }, 'MALFORMED_STRING', 'half of a surrogate pair'],
    [{ b: '"true"' }, 'WRONG_TYPE', 'expected true or false, found the string "true"'],
    [{ b: '1' }, 'WRONG_TYPE', 'found 1'],
    [{ i: '"5"' }, 'WRONG_TYPE', 'expected a whole number, found the string "5"'],
    [{ i: '5.5' }, 'WRONG_TYPE', 'expected a whole number, found 5.5'],
    [{ i: '9007199254740992' }, 'OUT_OF_RANGE', 't.int64()'],
    [{ i: '9007199254740991.0000001' }, 'WRONG_TYPE', 'found 9007199254740991.0000001'],
    [{ i: '1e400' }, 'WRONG_TYPE', 'whole number'],
    [{ i: '1e-400' }, 'WRONG_TYPE', 'found 1e-400'],
    [{ i: 'true' }, 'WRONG_TYPE', 'found true'],
    [{ l: '9223372036854775808' }, 'OUT_OF_RANGE', 'does not fit into 64 bits'],
    [{ l: '"-9223372036854775809"' }, 'OUT_OF_RANGE', 'does not fit into 64 bits'],
    [{ l: '1e999999999' }, 'WRONG_TYPE', 'whole number'],
    [{ l: '10000000000000000.5' }, 'WRONG_TYPE', 'found 10000000000000000.5'],
    [{ l: '"5.0"' }, 'WRONG_TYPE', 'a string of digits'],
    [{ l: '""' }, 'WRONG_TYPE', 'a string of digits'],
    [{ d: '"5"' }, 'WRONG_TYPE', 'expected a number, found the string "5"'],
    [{ d: '1e999' }, 'OUT_OF_RANGE', 'field "d": the number is beyond the largest double'],
    [{ m: '12.345' }, 'TOO_MANY_DECIMALS', '12.345 has 3 decimals, scale is 2'],
    [{ m: '12.3400000000000000001' }, 'TOO_MANY_DECIMALS', '12.3400000000000000001 has 19 decimals, scale is 2'],
    [{ m: '1e-400' }, 'TOO_MANY_DECIMALS', '1e-400 has 400 decimals'],
    [{ m: '90071992547409.92' }, 'OUT_OF_RANGE', '90071992547409.92 is beyond'],
    [{ m: '1e20' }, 'OUT_OF_RANGE', 'is beyond'],
    [{ m: '1e400' }, 'NOT_FINITE', 'expected a decimal number'],
    [{ m: '"NaN"' }, 'WRONG_TYPE', 'expected a number or a numeric string, found the string "NaN"'],
    [{ m: '"1,5"' }, 'WRONG_TYPE', 'numeric string'],
    [{ m: '" 1"' }, 'WRONG_TYPE', 'numeric string'],
    [{ m: '{}' }, 'WRONG_TYPE', 'found an object'],
    [{ z: '0.5' }, 'TOO_MANY_DECIMALS', '0.5 has 1 decimals, scale is 0'],
    [{ w: '1715947200' }, 'LOOKS_LIKE_SECONDS', '1715947200 looks like seconds'],
    [{ w: '0' }, 'LOOKS_LIKE_SECONDS', 'ISO 8601'],
    [{ w: '1715947200.5' }, 'WRONG_TYPE', 'whole milliseconds'],
    [{ w: '9000000000000000' }, 'OUT_OF_RANGE', 'beyond the calendar'],
    [{ w: '99999999999999999999' }, 'OUT_OF_RANGE', 'beyond the calendar'],
    [{ w: '"2024-02-30T00:00:00Z"' }, 'BAD_TIME', 'not on the calendar'],
    [{ w: '"2024-01-01T24:00:00Z"' }, 'BAD_TIME', 'the clock'],
    [{ w: '"2024-01-01T00:00:00"' }, 'BAD_TIME', 'with a zone'],
    [{ w: '"2024-01-01"' }, 'BAD_TIME', 'with a zone'],
    [{ w: '"1715947200000"' }, 'BAD_TIME', 'with a zone'],
    [{ w: 'true' }, 'WRONG_TYPE', 'ISO 8601 time with a zone, found true'],
    [{ v: '[1,2]' }, 'VECTOR_LENGTH', 'expected an array of 3 numbers, found 2'],
    [{ v: '[1,2,null]' }, 'WRONG_TYPE', 'a number at index 2, found null'],
    [{ v: '[1,2,1e999]' }, 'NOT_FINITE', 'the element at index 2 is Infinity'],
    [{ v: '"[1,2,3]"' }, 'WRONG_TYPE', 'an array of 3 numbers'],
    [{ rs: undefined }, 'MISSING_FIELD', 'field "rs" of event "every" is missing'],
    [{ rs: 'null' }, 'MISSING_FIELD', 'field "rs" of event "every" is null'],
    [{ id: undefined }, 'MISSING_ID', 'field "id" of event "every" is missing'],
    [{ id: 'null' }, 'MISSING_ID', 'is null'],
    [{ id: '""' }, 'MISSING_ID', 'is empty'],
    [{ at: undefined }, 'MISSING_FIELD', 'field "at"'],
    [{ at: String(NOW + 300_001) }, 'FUTURE', 'more than the clock skew of 300000 ms'],
    [{ at: '"2099-01-01T00:00:00Z"' }, 'FUTURE', '2099-01-01T00:00:00.000Z'],
    [{ at: '"1965-01-01T00:00:00Z"' }, 'OUT_OF_RANGE', 'before March 1973'],
    [{ at: '1715947200' }, 'LOOKS_LIKE_SECONDS', 'field "at"'],
    [{ extra: '1' }, 'UNKNOWN_FIELD', 'event "every" has no field "extra"'],
    [{ extra: 'null', other: '{}' }, 'UNKNOWN_FIELD', 'no fields "extra", "other"'],
    [{ __proto__x: '1', ['__proto__']: '{}' }, 'UNKNOWN_FIELD', '__proto__'],
    [{ constructor: '1' }, 'UNKNOWN_FIELD', '"constructor"'],
  ] as const)('with %j is refused as %s', (fields, code, reason) => {
    const said = refusal(decode(fields))
    expect(said.startsWith(`${code} `)).toBe(true)
    expect(said).toContain(reason)
    expect(said.length).toBeLessThan(400)
  })

  it.each([
    ['', 'NOT_JSON the record is empty'],
    ['{', 'NOT_JSON the record is not JSON'],
    ['{"d":NaN}', 'NOT_JSON'],
    ['{"id":01}', 'NOT_JSON'],
    ['null', 'NOT_AN_OBJECT expected an object, found null'],
    ['[1]', 'NOT_AN_OBJECT expected an object, found an array of 1'],
    ['"x"', 'NOT_AN_OBJECT'],
    ['5', 'NOT_AN_OBJECT expected an object, found 5'],
  ])('%j is refused as %s', (text, reason) => {
    expect(refusal(decodeJsonEvent(source, bytes(text), NOW))).toContain(reason)
  })

  it('is refused when it is not UTF-8, too large, or nested without end', () => {
    expect(refusal(decodeJsonEvent(source, Uint8Array.of(0x7b, 0xff, 0x7d), NOW))).toContain('NOT_UTF8')
    expect(refusal(decodeJsonEvent(source, new Uint8Array(maxRecordBytes + 1), NOW))).toContain('RECORD_TOO_LARGE')
    const avro = decodeJsonEvent(source, Uint8Array.of(0, 0, 0, 0, 1, 2, 3), NOW)
    expect(refusal(avro)).toMatch(/^NOT_JSON .*format: 'avro'/)
    const deep = bytes(`${'['.repeat(maxRecordBytes / 2 - 10)}1234567890123456789`)
    expect(refusal(decodeJsonEvent(source, deep, NOW))).toContain('NOT_JSON')
    const deepField = record({ i: `${'['.repeat(100_000)}1234567890123456789${']'.repeat(100_000)}` })
    expect(refusal(decodeJsonEvent(source, deepField, NOW))).toMatch(/NOT_JSON|WRONG_TYPE/)
  })

  it('may be dated up to the clock skew ahead, and may hold strings of exactly 64 KiB', () => {
    expect(decode({ at: String(NOW + 300_000) }).ok).toBe(true)
    expect(cellOf(decode({ s: `"${'ü'.repeat(maxStringBytes / 2)}"` }), 's')).toHaveLength(maxStringBytes / 2)
  })

  it('keeps its last value of a name given twice, as JSON does', () => {
    const twice = bytes('{"id":"a","id":"b","at":1715947140000,"rs":"","ri":1,"rd":0,"rb":true}')
    const result = decodeJsonEvent(source, twice, NOW)
    expect(result.ok && result.event.id).toBe('b')
  })

  it('may hold unknown fields where the event ignores them, nested ones of the same name included', () => {
    const lenient = { ...source, unknownFields: 'ignore' as const }
    const text = `{"x":{"l":12345678901234567890,"id":"z"},"id":"a","at":${AT},"rs":"","ri":1,"rd":0,"rb":true,"l":9007199254740993}`
    const result = decodeJsonEvent(lenient, bytes(text), NOW)
    expect(cellOf(result, 'l')).toBe(9007199254740993n)
  })
})

describe('fields given as values', () => {
  const basics = { id: 'e1', at: AT, rs: '', ri: 0, rd: 0, rb: false }

  it.each<[string, unknown, Cell]>([
    ['d', NaN, NaN],
    ['d', Infinity, Infinity],
    ['d', -0, 0],
    ['d', 5n, 5],
    ['i', 5n, 5],
    ['l', 5, 5n],
    ['l', 2n ** 62n, 2n ** 62n],
    ['m', 12.34, 1234],
    ['m', 5n, 500],
    ['m', '0.10', 10],
    ['w', BigInt(AT), AT],
    ['s', undefined, null],
  ])('%s: %o is %o', (name, value, cell) => {
    expect(cellOf(decodeFields(source, { ...basics, [name]: value }, null), name)).toStrictEqual(cell)
  })

  it.each([
    ['m', NaN, 'NOT_FINITE'],
    ['m', 0.1 + 0.2, 'TOO_MANY_DECIMALS'],
    ['i', NaN, 'WRONG_TYPE'],
    ['i', Infinity, 'WRONG_TYPE'],
    ['i', 2n ** 60n, 'OUT_OF_RANGE'],
    ['l', 2 ** 60, 'OUT_OF_RANGE'],
    ['l', 2n ** 63n, 'OUT_OF_RANGE'],
    ['d', 2n ** 63n - 1n, 'OUT_OF_RANGE'],
    ['v', [1, NaN, 2], 'NOT_FINITE'],
    ['s', 'a\udc00', 'MALFORMED_STRING'],
    ['s', () => 1, 'WRONG_TYPE'],
    ['x', 1, 'UNKNOWN_FIELD'],
  ])('%s: %o is refused as %s', (name, value, code) => {
    expect(refusal(decodeFields(source, { ...basics, [name]: value }, null))).toContain(code)
  })

  it('are judged against an arrival only where there is one', () => {
    const ahead = { ...basics, at: NOW + 1e9 }
    expect(decodeFields(source, ahead, null).ok).toBe(true)
    expect(refusal(decodeFields(source, ahead, NOW))).toContain('FUTURE')
  })
})

/** Of records in Avro: produced in `test/avro`. */
const AVRO_CODES = new Set(['NOT_AVRO', 'UNKNOWN_SCHEMA', 'SCHEMA_NOT_READABLE'])

it('every code of the closed list is produced by a case above', () => {
  const codes = Object.keys(DECODE_ERRORS).filter(code => !AVRO_CODES.has(code))
  expect([...produced].sort()).toEqual(codes.sort())
})

describe('ids and keys', () => {
  it('are text: strings as they are, integers in decimal digits', () => {
    expect(['a', '', 5, -7, 2n ** 60n, null].map(keyText)).toEqual(['a', '', '5', '-7', '1152921504606846976', null])
    const numbered = sourceOf(
      event('n', { topic: 'n', id: 'id', time: 'at', lateness: '0s', fields: { id: t.int64(), at: t.timestamp() } }),
    )
    const result = decodeJsonEvent(numbered, bytes(`{"id":9007199254740993,"at":${AT}}`), NOW)
    expect(result.ok && result.event.id).toBe('9007199254740993')
  })
})

const safe = fc.maxSafeInteger()
const cellArbitrary: Readonly<Record<FieldType['kind'], fc.Arbitrary<Cell>>> = {
  string: fc.string({ unit: 'binary' }).filter(text => text.isWellFormed()),
  boolean: fc.boolean(),
  int: safe.map(n => n + 0),
  int64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  double: fc.double().map(n => n + 0),
  decimal: safe.map(n => n + 0),
  timestamp: fc.integer({ min: 100_000_000_000, max: NOW }),
  vector: fc.array(
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(n => n + 0),
    { minLength: 3, maxLength: 3 },
  ),
}

/** Cells of the source `every` in its field order. */
const cellsArbitrary: fc.Arbitrary<readonly Cell[]> = fc.tuple(
  ...source.fields.map(field => {
    const cell = field.name === 'id' ? cellArbitrary.string.filter(id => id !== '') : cellArbitrary[field.type.kind]
    return field.optional ? fc.option(cell, { nil: null }) : cell
  }),
)

describe('encoding', () => {
  const decoder = eventDecoder(source)

  it('is undone by decoding, cell by cell', () => {
    fc.assert(
      fc.property(cellsArbitrary, cells => {
        const result = decoder.decodeJson(encodeJsonEvent(source, { cells }), NOW)
        expect(result.ok && result.event.cells).toStrictEqual(cells)
      }),
      { numRuns: 2000 },
    )
  })

  it('of the values authors see gives the same event, decimals below 2^50 units included', () => {
    fc.assert(
      fc.property(cellsArbitrary, drawn => {
        const cells = drawn.map((cell, index) =>
          source.fields[index]?.type.kind === 'decimal' && cell !== null ? ((cell as number) % 2 ** 50) + 0 : cell,
        )
        const values = authorValues(source, { id: cells[0] as string, time: cells[1] as number, cells })
        const fromJson = decoder.decodeJson(encodeJsonFields(values), NOW)
        const fromFields = decoder.decodeFields(values, NOW)
        expect(fromJson.ok && fromJson.event.cells).toStrictEqual(cells)
        expect(fromFields).toStrictEqual(fromJson)
      }),
      { numRuns: 2000 },
    )
  })

  it('carries doubles that are not finite as text and refuses what no reader would take', () => {
    const text = (cells: readonly Cell[]) => new TextDecoder().decode(encodeJsonEvent(source, { cells }))
    expect(text(source.fields.map(field => (field.type.kind === 'double' ? NaN : null)))).toBe('{"d":"NaN","rd":"NaN"}')
    expect(new TextDecoder().decode(encodeJsonFields({ d: -Infinity }))).toBe('{"d":"-Infinity"}')
    expect(() => encodeJsonFields({ s: 'x'.repeat(maxRecordBytes) })).toThrow(RangeError)
  })

  it('keeps unknown names, so that reading refuses them', () => {
    expect(new TextDecoder().decode(encodeJsonFields({ a: 1, b: null, c: 2n ** 60n, d: 5n, e: [1, 2] }))).toBe(
      '{"a":1,"c":"1152921504606846976","d":5,"e":[1,2]}',
    )
  })
})

describe('decimals as text', () => {
  const decoder = eventDecoder(source)

  it('are exact, or refused for digits or range, as integers say', () => {
    const digits = fc.stringMatching(/^[0-9]{1,18}$/)
    fc.assert(
      fc.property(
        fc.boolean(),
        digits,
        fc.stringMatching(/^[0-9]{0,22}$/),
        fc.boolean(),
        (minus, whole, fraction, quoted) => {
          const text = `${minus ? '-' : ''}${BigInt(whole)}${fraction === '' ? '' : `.${fraction}`}`
          const significant = fraction.replace(/0+$/, '')
          const scaled = BigInt(`${minus ? '-' : ''}${whole}${significant.padEnd(9, '0').slice(0, 9)}`)
          const fits = scaled <= 9007199254740991n && scaled >= -9007199254740991n
          const result = decoder.decodeJson(record({ n: quoted ? `"${text}"` : text }), NOW)
          if (significant.length > 9)
            expect(refusal(result)).toContain(`has ${significant.length} decimals, scale is 9`)
          else if (!fits) expect(refusal(result)).toContain('OUT_OF_RANGE')
          else expect(cellOf(result, 'n')).toBe(Number(scaled))
        },
      ),
      { numRuns: 5000 },
    )
  })
})

it('no record makes the decoder throw', () => {
  const decoder = eventDecoder(source)
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(Infinity, -0, '9'.repeat(400), '1e999999999', '2024-13-01T00:00:00Z', [], {}, '\ud800'),
  )
  const object = fc.dictionary(
    fc.constantFrom(...source.fields.map(field => field.name), '__proto__', 'toString'),
    value,
  )
  fc.assert(
    fc.property(
      fc.oneof(
        object.map(o => JSON.stringify(o)),
        fc.string(),
      ),
      fc.anything(),
      (text, anything) => {
        expect(typeof decoder.decodeJson(bytes(text), NOW).ok).toBe('boolean')
        expect(typeof decoder.decodeFields({ ...required, s: anything }, NOW).ok).toBe('boolean')
      },
    ),
    { numRuns: 3000 },
  )
})
