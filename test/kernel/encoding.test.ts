import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createReader,
  createWriter,
  decodeCell,
  decodePresent,
  encodeCell,
  encodePresent,
  typeText,
} from '../../features/kernel/encoding.ts'
import { cellOrder, compareCells, comparePoints, compareUtf8 } from '../../features/kernel/order.ts'
import type { ByteWriter, Cell, FieldType } from '../../features/kernel/types.ts'
import { doubles, presentCells, strings, TYPES } from './inputs.ts'

function written(write: (out: ByteWriter) => void, initialBytes?: number): Uint8Array {
  const out = createWriter(initialBytes)
  write(out)
  return out.finish()
}

const naturals = fc.oneof(
  fc.nat(300),
  fc.constantFrom(2 ** 32 - 1, 2 ** 32, 2 ** 49, Number.MAX_SAFE_INTEGER),
  fc.maxSafeNat(),
)
const integers = presentCells({ kind: 'int' }) as fc.Arbitrary<number>
const bigIntegers = fc.oneof(
  presentCells({ kind: 'int64' }) as fc.Arbitrary<bigint>,
  fc.bigInt({ min: -(2n ** 300n), max: 2n ** 300n }),
)
const texts = fc.oneof(
  strings,
  fc.string({ unit: 'binary', minLength: 60, maxLength: 90 }),
  fc.string({ minLength: 60, maxLength: 200 }),
)

/** An independent base-128 writer. */
function leb128(value: bigint): number[] {
  const bytes: number[] = []
  let rest = value
  do {
    bytes.push(Number(rest % 128n) | (rest >= 128n ? 128 : 0))
    rest /= 128n
  } while (rest > 0n)
  return bytes
}

describe('bytes', () => {
  it('give back what was written, from a buffer of any size', () => {
    const everything = fc.record({
      u8: fc.nat(255),
      u32: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      f64: doubles,
      varint: naturals,
      int: integers,
      bigint: bigIntegers,
      string: texts,
      bytes: fc.uint8Array({ maxLength: 40 }),
    })
    fc.assert(
      fc.property(fc.array(everything, { maxLength: 6 }), fc.integer({ min: 0, max: 64 }), (records, initial) => {
        const bytes = written(out => {
          for (const record of records) {
            out.u8(record.u8)
            out.u32(record.u32)
            out.f64(record.f64)
            out.varint(record.varint)
            out.int(record.int)
            out.bigint(record.bigint)
            out.string(record.string)
            out.bytes(record.bytes)
          }
        }, initial)
        const padded = new Uint8Array([9, 9, 9, ...bytes]).subarray(3)
        const input = createReader(padded)
        for (const record of records) {
          expect(input.u8()).toBe(record.u8)
          expect(input.u32()).toBe(record.u32)
          expect(input.f64()).toBe(record.f64)
          expect(input.varint()).toBe(record.varint)
          expect(input.int()).toBe(record.int)
          expect(input.bigint()).toBe(record.bigint)
          expect(input.string()).toBe(record.string)
          expect(input.bytes(record.bytes.length)).toEqual(record.bytes)
        }
        expect(input.remaining).toBe(0)
      }),
      { numRuns: 1000 },
    )
  })

  it('are base 128 for naturals, zigzag for integers, UTF-8 for strings', () => {
    fc.assert(
      fc.property(naturals, bigIntegers, integers, texts, (natural, wide, integer, text) => {
        expect([...written(out => out.varint(natural))]).toEqual(leb128(BigInt(natural)))
        const zigzag = wide < 0n ? -2n * wide - 1n : 2n * wide
        expect([...written(out => out.bigint(wide))]).toEqual(leb128(zigzag))
        expect(written(out => out.int(integer))).toEqual(written(out => out.bigint(BigInt(integer))))
        const utf8 = Buffer.from(text, 'utf8')
        expect(Buffer.from(written(out => out.string(text)))).toEqual(
          Buffer.concat([Uint8Array.from(leb128(BigInt(utf8.length))), utf8]),
        )
      }),
      { numRuns: 2000 },
    )
  })

  it('are little-endian, with one NaN', () => {
    expect([...written(out => out.u32(0x01020304))]).toEqual([4, 3, 2, 1])
    const odd = new DataView(new ArrayBuffer(8))
    odd.setBigUint64(0, 0xfff8000000000123n)
    expect([...written(out => out.f64(odd.getFloat64(0)))]).toEqual([0, 0, 0, 0, 0, 0, 0xf8, 0x7f])
  })

  it('stay as they were when the writer goes on', () => {
    const out = createWriter()
    out.u8(1)
    const before = out.finish()
    out.u8(2)
    expect([...before]).toEqual([1])
    expect([...out.finish()]).toEqual([1, 2])
  })

  it('refuse what has no form', () => {
    expect(() => written(out => out.string('a\uD800'))).toThrow(RangeError)
    expect(() => written(out => out.string('x'.repeat(100) + '\uDC00'))).toThrow('lone surrogate')
    for (const value of [-1, 1.5, NaN, 2 ** 53, Infinity]) {
      expect(() => written(out => out.varint(value))).toThrow(RangeError)
    }
    for (const value of [0.5, NaN, 2 ** 53, -Infinity]) expect(() => written(out => out.int(value))).toThrow(RangeError)
  })

  it('refuse to be read past the end, or in a form no writer makes', () => {
    const read = (...values: number[]) => createReader(Uint8Array.from(values))
    expect(() => read().u8()).toThrow(RangeError)
    expect(() => read(1, 2, 3).u32()).toThrow(RangeError)
    expect(() => read(1, 2, 3, 4, 5, 6, 7).f64()).toThrow(RangeError)
    expect(() => read(0x80).varint()).toThrow(RangeError)
    expect(() => read(0x80).int()).toThrow(RangeError)
    expect(() => read().int()).toThrow(RangeError)
    expect(() => read(0x80, 0x80).bigint()).toThrow(RangeError)
    expect(() => read(5, 65).string()).toThrow(RangeError)
    expect(() => read(1).bytes(2)).toThrow(RangeError)
    expect(() => read(1).bytes(-1)).toThrow(RangeError)
    expect(() => read(0x80, 0).varint()).toThrow('superfluous')
    expect(() => read(0x80, 0).int()).toThrow('superfluous')
    expect(() => read(0x80, 0).bigint()).toThrow('superfluous')
    expect(() => read(...leb128(2n ** 53n)).varint()).toThrow(RangeError)
    expect(() => read(...leb128(2n ** 70n)).varint()).toThrow(RangeError)
    expect(() => read(...leb128(2n ** 54n)).int()).toThrow(RangeError)
    expect(() => read(2, 0xc3, 0x28).string()).toThrow('UTF-8')
    expect(() => read(3, 0xed, 0xa0, 0x80).string()).toThrow('UTF-8')
  })

  it('end in RangeError or a value for random input', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 24 }), fc.constantFrom(...TYPES), (bytes, type) => {
        try {
          decodeCell(type, createReader(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError)
        }
      }),
      { numRuns: 2000 },
    )
  })
})

describe('cells', () => {
  for (const type of TYPES) {
    it(`of type ${typeText(type)} come back, null included`, () => {
      fc.assert(
        fc.property(fc.option(presentCells(type), { freq: 4 }), cell => {
          const input = createReader(written(out => encodeCell(type, cell, out)))
          expect(decodeCell(type, input)).toEqual(cell)
          expect(input.remaining).toBe(0)
          if (cell === null) return
          const present = createReader(written(out => encodePresent(type, cell, out)))
          expect(decodePresent(type, present)).toEqual(cell)
          expect(present.remaining).toBe(0)
        }),
        { numRuns: 500 },
      )
    })
  }

  it('of another type are refused with both named', () => {
    const wrong: [FieldType, Cell, string][] = [
      [{ kind: 'string' }, 1, 'number 1 is no cell of type string'],
      [{ kind: 'boolean' }, 'true', 'string true is no cell of type boolean'],
      [{ kind: 'int' }, 1n, 'bigint 1 is no cell of type int'],
      [{ kind: 'int64' }, 1, 'number 1 is no cell of type int64'],
      [{ kind: 'double' }, '1', 'string 1 is no cell of type double'],
      [{ kind: 'decimal', scale: 2 }, true, 'boolean true is no cell of type decimal(2)'],
      [{ kind: 'vector', length: 2 }, [1], 'a vector of length 1 is no cell of type vector(2)'],
    ]
    for (const [type, cell, message] of wrong) {
      expect(() => written(out => encodeCell(type, cell, out))).toThrow(message)
    }
    expect(() => written(out => encodeCell({ kind: 'int' }, 0.5, out))).toThrow(RangeError)
  })

  it('write −0 as 0', () => {
    const zero = written(out => encodeCell({ kind: 'double' }, 0, out))
    expect(written(out => encodeCell({ kind: 'double' }, -0, out))).toEqual(zero)
  })
})

describe('order', () => {
  it('of strings is that of their UTF-8 bytes', () => {
    fc.assert(
      fc.property(texts, texts, strings, (a, b, prefix) => {
        for (const [left, right] of [
          [a, b],
          [prefix + a, prefix + b],
        ] as const) {
          expect(Math.sign(compareUtf8(left, right))).toBe(Buffer.compare(Buffer.from(left), Buffer.from(right)))
        }
      }),
      { numRuns: 3000 },
    )
    expect(compareUtf8('\uFFFD', '\u{1F600}')).toBeLessThan(0)
    expect(['\uFFFD', '\u{1F600}'].sort()[0]).toBe('\u{1F600}')
  })

  it('of points is by time, then id', () => {
    expect(comparePoints({ time: 1, id: 'b' }, { time: 2, id: 'a' })).toBeLessThan(0)
    expect(comparePoints({ time: 1, id: '\u{1F600}' }, { time: 1, id: '\uE000' })).toBeGreaterThan(0)
    expect(comparePoints({ time: 1, id: 'a' }, { time: 1, id: 'a' })).toBe(0)
  })

  for (const type of TYPES) {
    it(`of ${typeText(type)} cells is total, and zero only for equal bytes`, () => {
      const cells = fc.option(presentCells(type), { freq: 6 })
      const order = cellOrder(type)
      fc.assert(
        fc.property(cells, cells, cells, (a, b, c) => {
          expect(Math.sign(order(a, b))).toBe(-Math.sign(order(b, a)) + 0)
          expect(compareCells(type, a, a)).toBe(0)
          if (order(a, b) <= 0 && order(b, c) <= 0) expect(order(a, c)).toBeLessThanOrEqual(0)
          const bytes = (cell: Cell) => Buffer.from(written(out => encodeCell(type, cell, out))).toString('hex')
          expect(order(a, b) === 0).toBe(bytes(a) === bytes(b))
        }),
        { numRuns: 1000 },
      )
    })
  }

  it('puts null first and NaN last', () => {
    const sorted: Cell[] = [null, -Infinity, -1, 0, 5e-324, 1, Infinity, NaN]
    expect(sorted.toReversed().sort((a, b) => compareCells({ kind: 'double' }, a, b))).toEqual(sorted)
    expect([true, null, false].sort((a, b) => compareCells({ kind: 'boolean' }, a, b))).toEqual([null, false, true])
  })
})
