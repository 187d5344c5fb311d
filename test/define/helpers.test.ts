import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  countOf,
  difference,
  digitShare,
  entity,
  event,
  greatCircleKm,
  group,
  impossibleTravel,
  ratio,
  relativeChange,
  repeatedShare,
  share,
  shareOf,
  speedKmh,
  t,
  textLength,
  travelSpeedKmh,
  upperCaseShare,
  urlCount,
  urlShare,
  zScore,
} from '../../features/define/index.ts'

const HOUR = 3_600_000

describe('ratios', () => {
  it('answer null for what is not known, and for nothing to divide by', () => {
    expect(ratio(3, 4)).toBe(0.75)
    expect(ratio(-3, 4)).toBe(-0.75)
    for (const [a, b] of [
      [null, 4],
      [3, null],
      [null, null],
      [3, 0],
      [0, 0],
      [0, -0],
      [Infinity, Infinity],
    ] as const) {
      expect(ratio(a, b)).toBeNull()
    }
    expect(ratio(3, 0, { whenZero: 1 })).toBe(1)
    expect(ratio(null, 0, { whenZero: 1 })).toBeNull()
    expect(ratio(3, null, { whenZero: 1 })).toBeNull()
    expect(Object.is(ratio(0, -4), 0)).toBe(true)
  })

  it('share stays within 0 and 1', () => {
    expect(share(1, 4)).toBe(0.25)
    expect(share(5, 4)).toBe(1)
    expect(share(-1, 4)).toBe(0)
    expect(share(0, 0)).toBeNull()
    expect(share(null, 3)).toBeNull()
  })

  it('zScore, difference and relativeChange', () => {
    expect(zScore(130, 100, 15)).toBe(2)
    expect(zScore(85, 100, 15)).toBe(-1)
    expect(zScore(85, 100, 0)).toBeNull()
    expect([zScore(null, 1, 1), zScore(1, null, 1), zScore(1, 1, null)]).toEqual([null, null, null])
    expect(zScore(Infinity, Infinity, 2)).toBeNull()
    expect(difference(5, 8)).toBe(-3)
    expect([difference(null, 8), difference(5, null), difference(Infinity, Infinity)]).toEqual([null, null, null])
    expect(relativeChange(15, 10)).toBe(0.5)
    expect(relativeChange(-5, -10)).toBe(0.5)
    expect(relativeChange(0, 10)).toBe(-1)
    expect([relativeChange(1, 0), relativeChange(null, 1), relativeChange(1, null)]).toEqual([null, null, null])
  })

  it('make no NaN of their own, and keep one that is given', () => {
    const number = fc.oneof(
      fc.double({ noNaN: true }),
      fc.constantFrom(0, -0, 1, -1, Infinity, -Infinity),
      fc.constant(null),
    )
    fc.assert(
      fc.property(number, number, number, (a, b, c) => {
        const values = [ratio(a, b), share(a, b), zScore(a, b, c), difference(a, b), relativeChange(a, b)]
        for (const value of [...values, repeatedShare(a, b)]) {
          expect(value === null || !Number.isNaN(value)).toBe(true)
          expect(Object.is(value, -0)).toBe(false)
        }
        for (const value of [share(a, b), repeatedShare(a, b)]) {
          expect(value === null || (value >= 0 && value <= 1)).toBe(true)
        }
        expect([ratio(null, b), zScore(a, b, null), difference(a, null)]).toEqual([null, null, null])
      }),
      { numRuns: 1000 },
    )
    expect([ratio(NaN, 2), share(2, NaN), zScore(1, NaN, 2), difference(NaN, 1), relativeChange(NaN, 1)]).toEqual(
      new Array(5).fill(NaN),
    )
  })

  it('look into maps of categories', () => {
    const pairs = [
      ['de', 3],
      ['fr', 1],
    ] as const
    expect([countOf(pairs, 'de'), countOf(pairs, 'es'), countOf(null, 'de'), countOf(pairs, null)]).toEqual([
      3,
      0,
      null,
      null,
    ])
    expect([shareOf(pairs, 'de'), shareOf(pairs, 'es'), shareOf(null, 'de'), shareOf(pairs, null)]).toEqual([
      0.75,
      0,
      null,
      null,
    ])
    expect([countOf([], 'de'), shareOf([], 'de'), shareOf([['de', 0]], 'de')]).toEqual([0, null, null])
  })

  it('repeatedShare', () => {
    expect(repeatedShare(1, 4)).toBe(0.75)
    expect(repeatedShare(4, 4)).toBe(0)
    expect(repeatedShare(0, 0)).toBeNull()
    expect(repeatedShare(null, 4)).toBeNull()
    expect(repeatedShare(41, 40)).toBe(0)
  })
})

type Pair = readonly [string, [number, number], [number, number], number, number]
const recorded = JSON.parse(readFileSync(join(import.meta.dirname, 'recorded/great-circle.json'), 'utf8')) as {
  readonly rows: readonly Pair[]
}

describe('places', () => {
  it('are as far apart as an independent library says, on the sphere and within 0.57 % on the ellipsoid', () => {
    expect(recorded.rows.length).toBeGreaterThan(200)
    for (const [name, a, b, geodesicKm, sphereKm] of recorded.rows) {
      const km = greatCircleKm(a, b) ?? NaN
      expect(Math.abs(km - sphereKm), name).toBeLessThanOrEqual(1e-9 + 1e-12 * sphereKm)
      expect(Math.abs(km - geodesicKm) / geodesicKm, name).toBeLessThanOrEqual(0.0057)
      expect(greatCircleKm(b, a), name).toBeCloseTo(km, 9)
    }
    const [name, , , geodesicKm] = recorded.rows[0] ?? []
    expect([name, Math.round(geodesicKm ?? 0)]).toEqual(['Auckland-London', 18327])
  })

  it('wrap in longitude, and poles have one place', () => {
    expect(greatCircleKm([10, 180], [10, -180])).toBe(0)
    expect(greatCircleKm([10, 190], [10, -170])).toBe(0)
    expect(greatCircleKm([10, 720 + 5], [10, 5])).toBe(0)
    expect(greatCircleKm([90, 0], [90, 77])).toBe(0)
    expect(greatCircleKm([-17, 179.9], [-17, -179.9])).toBeCloseTo(21.268, 2)
    expect(greatCircleKm([0, 0], [0, 180])).toBe(Math.PI * 6371.0088)
  })

  it('that are none are null', () => {
    const here = [1, 2]
    for (const wrong of [null, [], [1], [1, 2, 3], [90.01, 0], [-91, 0], [NaN, 0], [0, NaN], [0, Infinity]]) {
      expect([greatCircleKm(wrong, here), greatCircleKm(here, wrong)]).toEqual([null, null])
      expect([speedKmh(wrong, 0, here, 1), speedKmh(here, 0, wrong, 0)]).toEqual([null, null])
    }
  })

  it('are never further apart than half the way round, and never throw', () => {
    const place = fc.array(fc.double(), { maxLength: 3 })
    const onEarth = fc.tuple(
      fc.double({ min: -90, max: 90, noNaN: true }),
      fc.double({ min: -1e6, max: 1e6, noNaN: true }),
    )
    const any = fc.oneof(place, onEarth, fc.constant(null))
    fc.assert(
      fc.property(any, any, fc.double(), fc.double(), (a, b, from, to) => {
        const km = greatCircleKm(a, b)
        expect(km === null || (km >= 0 && km <= 20_015.12)).toBe(true)
        const speed = speedKmh(a, from, b, to)
        expect(speed === null || speed >= 0).toBe(true)
      }),
      { numRuns: 1000 },
    )
    fc.assert(fc.property(onEarth, onEarth, (a, b) => greatCircleKm(a, b) !== null && greatCircleKm(a, a) === 0))
  })

  it('give the speed between them', () => {
    const [paris, madrid] = [
      [48.86, 2.35],
      [40.42, -3.7],
    ] as const
    expect(speedKmh(paris, 0, madrid, 2 * HOUR)).toBe((greatCircleKm(paris, madrid) ?? 0) / 2)
    expect(speedKmh(paris, 2 * HOUR, madrid, 0)).toBe(speedKmh(paris, 0, madrid, 2 * HOUR))
    expect(speedKmh(paris, 5, madrid, 5)).toBe(Infinity)
    expect(speedKmh(paris, 5, paris, 5)).toBe(0)
    expect(speedKmh(paris, 5, paris, 6)).toBe(0)
    expect([speedKmh(paris, null, madrid, 1), speedKmh(paris, 1, madrid, null)]).toEqual([null, null])
    expect([speedKmh(paris, NaN, madrid, 1), speedKmh(paris, 1, madrid, Infinity)]).toEqual([null, null])
  })

  it('in lists give it between the first two', () => {
    const places = [
      [0, 0],
      [0, 1],
      [50, 50],
    ]
    const km = greatCircleKm([0, 0], [0, 1]) ?? 0
    expect(travelSpeedKmh(places, [2 * HOUR, HOUR, 0])).toBe(km)
    expect([travelSpeedKmh(places.slice(0, 1), [HOUR]), travelSpeedKmh([], [])]).toEqual([null, null])
    expect([travelSpeedKmh(null, []), travelSpeedKmh([], null)]).toEqual([null, null])
    expect(travelSpeedKmh(places, [5, 5, 5])).toBe(Infinity)
    expect(travelSpeedKmh(places, [5, 5, 5], { ignoreKm: 112 })).toBe(0)
    expect(travelSpeedKmh(places, [2 * HOUR, HOUR, 0], { ignoreKm: 111 })).toBe(km)
    expect(() => travelSpeedKmh(places, [5])).toThrow(
      new RangeError('3 places but 1 times: take both over the same rows, the times with where: e.place.isNotNull()'),
    )
  })

  it('of a group make a derived feature, which says when the group has not such features', () => {
    const ride = event('ride', {
      topic: 'rides',
      id: 'id',
      time: 'at',
      lateness: '1h',
      fields: { id: t.string(), at: t.timestamp(), place: t.optional(t.vector(2)) },
    })
    const rider = entity('rider', { key: 'id' })
    const rides = group('rides', { entity: rider, source: ride }, e => ({
      places_2: e.lastN(e.place, 2, '7d'),
      place_times_2: e.lastN(e.at, 2, '7d', { where: e.place.isNotNull() }),
    }))
    const speed = impossibleTravel(rides, { places: 'places_2', times: 'place_times_2' }, { description: 'so fast' })
    expect([speed.groups, speed.description]).toEqual([[rides], 'so fast'])
    const view = (places_2: readonly number[][], place_times_2: readonly number[]) => {
      return { request: {}, rides: { places_2, place_times_2 } }
    }
    const km = greatCircleKm([0, 1], [0, 0])
    expect(
      speed(
        view(
          [
            [0, 1],
            [0, 0],
          ],
          [HOUR, 0],
        ),
      ),
    ).toBe(km)
    expect(speed(view([[0, 1]], [HOUR]))).toBeNull()
    const untyped = impossibleTravel as unknown as (g: unknown, f: object) => (v: unknown) => unknown
    expect(() => untyped(rides, { places: 'places_2', times: 'times' })(view([], []))).toThrow(
      'group rides has no feature times that is a list',
    )
  })
})

describe('texts', () => {
  it('are measured in code points', () => {
    expect(['', 'abc', 'é', '😀👍', '👩‍👧', '\ud800', 'a\udc00b'].map(textLength)).toEqual([0, 3, 1, 2, 3, 1, 3])
    expect(textLength(null)).toBeNull()
  })

  it('have shares of digits and of upper case', () => {
    expect(digitShare('call 555')).toBe(3 / 8)
    expect(digitShare('٣a')).toBe(0.5)
    expect(digitShare('𝟘😀')).toBe(0.5)
    expect([digitShare(''), digitShare(null), digitShare('½²')]).toEqual([null, null, 0])
    expect(upperCaseShare('BUY NOW 24/7!')).toBe(1)
    expect(upperCaseShare('Hello')).toBe(0.2)
    expect(upperCaseShare('ÀÉî日')).toBe(2 / 3)
    expect(upperCaseShare('𝐀𐐨')).toBe(0.5)
    expect([upperCaseShare('123 日本'), upperCaseShare(''), upperCaseShare(null)]).toEqual([null, null, null])
  })

  /** Each text with its URLs marked by ⟨ and ⟩. */
  it.each([
    'see ⟨http://a.example⟩',
    '⟨HTTPS://A.example/b?c=d#e⟩ now',
    '⟨https://example.com/a_(b)⟩ (⟨http://example.com/c⟩).',
    '"⟨http://example.com/⟩", <⟨http://example.com/x⟩>',
    '⟨http://localhost:8080/a⟩, ⟨http://10.0.0.1⟩!',
    '⟨www.anything⟩ and ⟨WWW.b.de/c⟩.',
    'visit ⟨example.com⟩. Or ⟨my-shop.example.co⟩, ⟨win.xyz⟩!',
    '⟨example.com/path?x=1⟩; ⟨example.com:8080/x⟩; ⟨example.com⟩: a colon',
    '⟨t.me/joinnow⟩ ⟨bit.ly/3xYz⟩ ⟨youtu.be/abc⟩',
    '加我⟨example.com⟩谢谢 ⟨http://example.com/a⟩谢谢',
    '⟨example.com⟩😀⟨b.org⟩',
    'xhttp://⟨b.org⟩ and see-⟨http://a.example⟩',
    'nothing: e.g. this, i.e. that, 3.14/2, file.txt, a.b.c, end.Next one, and/or, ... -.com .com www. http:// ://',
    'write to me@example.com or info.com@example.org, @example.com',
    'it.is so he.she/they main.rs',
    '⟨http://a.example/)b⟩) ⟨http://a.example/[1]⟩]',
    '',
  ])('have URLs: %s', marked => {
    const urls = [...marked.matchAll(/⟨([^⟩]*)⟩/g)].map(match => match[1] ?? '')
    const text = marked.replaceAll(/[⟨⟩]/g, '')
    expect(urlCount(text)).toBe(urls.length)
    const characters = urls.reduce((sum, url) => sum + url.length, 0)
    expect(urlShare(text)).toBe(text === '' ? null : characters / Array.from(text).length)
  })

  it('that are missing have none', () => {
    expect([urlCount(null), urlShare(null)]).toEqual([null, null])
  })

  const SIZE = 1 << 20
  const filled = (piece: string): string => piece.repeat(Math.ceil(SIZE / piece.length))

  /** 16 times the longest field: a scan in quadratic time would outlast any limit. −1 stands for one URL a piece. */
  it.each([
    ['http://', 1],
    ['http://a', 1],
    ['http://a)', 1],
    ['www.', 1],
    ['a.', 0],
    ['-.', 0],
    ['.com', 1],
    ['a@', 0],
    ['a.com ', -1],
    ['a.com/(', 1],
    ['t.me/', 1],
    ['....', 0],
    ['((((', 0],
    ['aaaa', 0],
    ['a.com,', -1],
    ['😀', 0],
    ['é', 0],
    [')', 0],
    [']]((', 0],
  ])('of 1 MiB are scanned in one pass: %s', (piece, urls) => {
    const text = filled(piece)
    expect(urlCount(text)).toBe(urls < 0 ? text.length / piece.length : urls)
    expect(urlCount(`http://a.example/${text}`)).toBeGreaterThanOrEqual(1)
    for (const value of [urlShare(text), digitShare(text)]) {
      expect(value).toBeGreaterThanOrEqual(0)
      expect(value).toBeLessThanOrEqual(1)
    }
    expect(upperCaseShare(text) ?? 0).toBe(0)
  })

  it('never throw and have shares within 0 and 1', () => {
    const piece = fc.constantFrom(
      'http://',
      'https://',
      'www.',
      '.com',
      't.me/',
      'a',
      'Z',
      '9',
      '.',
      '-',
      '/',
      ':',
      '@',
    )
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc
        .array(fc.oneof(piece, fc.constantFrom('(', ')', '[', ']', ' ', '😀', '\ud800', 'é', "'")), { maxLength: 40 })
        .map(parts => parts.join('')),
    )
    fc.assert(
      fc.property(text, given => {
        expect(textLength(given)).toBe(Array.from(given).length)
        const urls = urlCount(given)
        expect(urls * 5).toBeLessThanOrEqual(given.length)
        expect((urlShare(given) ?? 0) > 0).toBe(urls > 0)
        for (const value of [digitShare(given), upperCaseShare(given), urlShare(given)]) {
          expect(value === null || (value >= 0 && value <= 1)).toBe(true)
        }
        expect(digitShare(given) === null).toBe(given === '')
        const digits = [...given.matchAll(/\p{Nd}/gu)].length
        expect((digitShare(given) ?? 0) * Array.from(given).length).toBeCloseTo(digits, 6)
      }),
      { numRuns: 2000 },
    )
  })
})
