import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { driftVerdict, renderFrame, renderPlainLine } from '../../services/demo/frame.ts'
import type { LabelledPayment } from '../../services/demo/generator.ts'
import { nextSteps, renderSummary } from '../../services/demo/summary.ts'
import { createTally } from '../../services/demo/tally.ts'
import type { DemoState, Tally } from '../../services/demo/tally.ts'
import { startView } from '../../services/demo/view.ts'
import { assessDrift } from '../../topology/monitoring/drift-assess.ts'
import { manifest } from '../monitoring/manifest.ts'

function paid(cardId: string, pattern: LabelledPayment['pattern']): LabelledPayment {
  const event = {
    paymentId: `p-${cardId}`,
    occurredAt: 1,
    cardId,
    merchantId: 'm',
    category: 'grocery',
    amount: 10,
    country: 'GB',
    utcOffsetMinutes: 0,
    cardPresent: true,
    declined: false,
  }
  return { event, fraud: pattern !== null, pattern }
}

function newTally(): Tally {
  return createTally({ seed: 42, cards: 3750, durationMs: 90_000, outcomes: ['approve', 'review', 'decline'] })
}

function busyTally(): Tally {
  const tally = newTally()
  tally.setHistory(63_000, 63_000)
  tally.setPhase('shifted')
  for (let i = 0; i < 4000; i += 1) {
    const atMs = i * 10
    tally.published(1, atMs)
    const testing = i % 100 === 50
    const takeover = i % 500 === 30
    const pattern = testing ? 'card_testing' : takeover ? 'account_takeover' : null
    const decision = testing ? (i % 300 === 50 ? 'approve' : 'decline') : i % 400 === 1 ? 'review' : 'approve'
    const features = {
      'card_activity.payments_5m': i % 7,
      'card_activity.payments_1h': i / 100,
      'card_activity.declined_1h': testing ? 4 : 0,
      'card_activity.spend_24h': 1234.5 + i,
      'derived.amount_over_mean': i % 200 === 50 ? null : 0.07,
    }
    const answer = { decision, score: testing ? 0.987 : 0.01, latencyMs: 1 + (i % 100) / 20, features }
    tally.scored(paid(testing ? 'card-000007' : `card-${i}`, pattern), answer, atMs)
  }
  const common = { model: 'fraud', version: '1', missing: 0 }
  tally.setDrift(
    assessDrift(
      [
        { ...common, feature: 'request.amount', bins: [40, 100, 200, 660] },
        { ...common, feature: 'card_activity.payments_1h', bins: [0, 650, 350] },
        { ...common, feature: 'score', bins: [900, 100] },
      ],
      new Map([['fraud@1', manifest('1')]]),
    ),
  )
  return tally
}

describe('the tally', () => {
  it('counts decisions, fraud caught and missed, and false alarms', () => {
    const state = busyTally().state(40_000)
    expect(state.decisions).toEqual([
      { outcome: 'approve', count: 3964 },
      { outcome: 'review', count: 10 },
      { outcome: 'decline', count: 26 },
    ])
    expect(state.patterns).toEqual([
      { pattern: 'card_testing', seen: 40, caught: 26 },
      { pattern: 'compromised_merchant', seen: 0, caught: 0 },
      { pattern: 'account_takeover', seen: 8, caught: 0 },
    ])
    expect([state.honest, state.falseAlarms]).toEqual([3952, 10])
    expect(state.eventsPerSecond).toBe(100)
  })

  it('gives latency quantiles within 2 %', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.02, max: 1e4, noNaN: true }), { minLength: 1, maxLength: 300 }),
        values => {
          const tally = newTally()
          const features = {}
          for (const latencyMs of values) {
            tally.scored(paid('c', null), { decision: 'approve', score: null, latencyMs, features }, 0)
          }
          const sorted = values.toSorted((a, b) => a - b)
          const { latency } = tally.state(1000)
          for (const [share, found] of [
            [0.5, latency?.p50Ms ?? 0],
            [0.99, latency?.p99Ms ?? 0],
          ] as const) {
            const exact = sorted[Math.ceil(share * sorted.length) - 1] ?? 0
            expect(found / exact).toBeGreaterThan(0.999)
            expect(found / exact).toBeLessThan(1.021)
          }
        },
      ),
    )
  })

  it('watches a card that is being misused, until it has been quiet', () => {
    const tally = newTally()
    const answer = { decision: 'approve', score: 0.5, latencyMs: 1, features: {} }
    const watched = () => tally.state(0).card
    tally.scored(paid('a', null), answer, 0)
    expect(watched()).toMatchObject({ cardId: 'a', pattern: null })
    tally.scored(paid('b', null), answer, 9000)
    expect(watched()?.cardId).toBe('a')
    tally.scored(paid('c', 'card_testing'), answer, 9000)
    tally.scored(paid('d', 'account_takeover'), answer, 10_000)
    tally.scored(paid('c', null), answer, 11_000)
    expect(watched()).toMatchObject({ cardId: 'c', pattern: 'card_testing' })
    expect(watched()?.features[0]?.values).toEqual([null, null])
    tally.scored(paid('d', 'account_takeover'), answer, 18_000)
    expect(watched()?.cardId).toBe('d')
  })
})

describe('renderFrame', () => {
  it('shows everything in 100 by 30', () => {
    expect(renderFrame(busyTally().state(40_000), 100, 30)).toMatchSnapshot()
  })

  it('shows the history being imported', () => {
    const tally = newTally()
    tally.setHistory(20_000, 63_000)
    expect(renderFrame(tally.state(0), 100, 30)).toMatchSnapshot()
  })

  it('stands in one column where it is narrow', () => {
    expect(renderFrame(busyTally().state(40_000), 60, 40)).toMatchSnapshot()
  })

  it('shows everything in 80 by 24, the size of most terminals', () => {
    const text = renderFrame(busyTally().state(40_000), 80, 23)
    expect(text).toMatchSnapshot()
    expect(text).not.toContain('…')
  })

  it('keeps the drift in view: heading, rows, verdict and legend, from 16 lines on', () => {
    const state = busyTally().state(40_000)
    fc.assert(
      fc.property(fc.integer({ min: 80, max: 200 }), fc.integer({ min: 16, max: 60 }), (width, height) => {
        const lines = renderFrame(state, width, height).split('\n')
        const at = lines.findIndex(line => line.startsWith('Drift, most above noise first'))
        expect(at).toBeGreaterThan(0)
        expect(lines[at + 1]).toContain('request.amount')
        expect(lines[at + 1]).toContain('▲')
        expect(lines[at + 2]).toContain('score')
        expect(lines.at(-2)).toBe('  1 of 3 features have moved')
        expect(lines.at(-1)).toMatch(/^ {2}▲ higher ▼ lower ◆ other: beyond chance, and PSI > 0\.1/)
      }),
    )
  })

  it('gives the card and the patterns up before the drift where it is narrow and low', () => {
    const text = renderFrame(busyTally().state(40_000), 60, 23)
    expect(text).toContain('Drift, most above noise first')
    expect(text).toContain('  score ')
    expect(text).toContain('Fraud ')
    expect(text).not.toContain('answer:')
  })

  it('draws decisions to scale, and a share above 0 at all', () => {
    const bars = renderFrame(busyTally().state(40_000), 60, 40)
      .split('\n')
      .filter(line => /^ {2}(approve|review|decline) /.test(line))
      .map(line => line.replace(/^ {2}\S+ +[\d,]+ {2}/, ''))
    expect(bars).toEqual(['███████████▉  99.1 %', '▏              0.3 %', '▏              0.7 %'])
  })

  it('never leaves the terminal', () => {
    const states: readonly DemoState[] = [busyTally().state(40_000), newTally().state(0)]
    fc.assert(
      fc.property(
        fc.integer({ min: 40, max: 250 }),
        fc.integer({ min: 9, max: 80 }),
        fc.constantFrom(...states),
        (width, height, state) => {
          const lines = renderFrame(state, width, height).split('\n')
          expect(lines.length).toBeLessThanOrEqual(height)
          for (const line of lines) expect(line.length).toBeLessThanOrEqual(width)
        },
      ),
    )
  })
})

describe('what is said of drift', () => {
  const said = (bins: readonly number[]): string => {
    const counts = [{ model: 'fraud', version: '1', missing: 0, feature: 'request.amount', bins }]
    return driftVerdict(assessDrift(counts, new Map([['fraud@1', manifest('1')]])))
  }

  it('is that it is being collected, that nothing is above the threshold, or how many have moved', () => {
    expect(driftVerdict([])).toBe('collecting, shown after 20 s')
    expect(said([100, 200, 0, 0])).toBe('collecting, 300 of 500 scores so far')
    expect(said([1000, 3000, 3000, 2900])).toBe('no feature above PSI 0.1')
    expect(said([2000, 4000, 2000, 1900])).toBe('1 of 1 features have moved')
  })

  it('is the same in the frame, the plain line and the summary', () => {
    const state = { ...busyTally().state(40_000), drift: [] }
    const words = driftVerdict([])
    expect(renderFrame(state, 80, 23)).toContain(`  ${words}`)
    expect(renderPlainLine(state)).toContain(`drift: ${words}`)
    const [finding] = busyTally().state(40_000).drift
    if (finding === undefined) throw new Error('no finding')
    const still = { ...state, drift: [{ ...finding, verdict: 'stable', psi: 0.05 } as const] }
    const stable = 'no feature above PSI 0.1'
    expect(renderFrame(still, 80, 23)).toContain(`\n  ${stable}\n`)
    expect(renderPlainLine(still)).toMatch(new RegExp(`drift: ${stable}$`))
    expect(renderSummary(still, [])).toContain(`in the last half minute: ${stable}\n`)
    const chance = { ...still, drift: [{ ...finding, verdict: 'stable', psi: 0.15 } as const] }
    expect(renderFrame(chance, 80, 23)).toContain(`  ${stable} by more than chance`)
  })
})

describe('renderPlainLine and renderSummary', () => {
  it('read well', () => {
    const state = busyTally().state(40_000)
    const tally = newTally()
    tally.setHistory(20_000, 63_000)
    const next = nextSteps({
      data: '--data .headwater/demo',
      headwater: 'npx headwater',
      serve: 'npx headwater run all',
      grpcAddress: 'localhost:50051',
      cardId: 'card-000007',
      featuresFile: 'features/fraud/index.ts',
    })
    expect(next).toHaveLength(3)
    expect(renderPlainLine(tally.state(0))).toMatchSnapshot('history')
    expect(renderPlainLine(state)).toMatchSnapshot('live')
    expect(renderSummary({ ...state, phase: 'ended' }, next)).toMatchSnapshot('summary')
  })
})

describe('startView', () => {
  const output = (isTTY: boolean) => {
    const written: string[] = []
    return { isTTY, columns: 100, rows: 30, written, write: (text: string) => written.push(text) }
  }

  it('draws on the alternate screen and gives the terminal back once', () => {
    const terminal = output(true)
    const view = startView({ output: terminal, state: () => busyTally().state(40_000), color: true, frameMs: 60_000 })
    view.stop()
    view.stop()
    view.restore()
    const all = terminal.written.join('')
    expect(all.startsWith('\u001b[?1049h\u001b[?25l')).toBe(true)
    expect(all.endsWith('\u001b[?25h\u001b[?1049l')).toBe(true)
    expect(all.split('\u001b[?1049l')).toHaveLength(2)
    expect(all).toContain('\u001b[33m')
    expect(terminal.written).toHaveLength(4)
  })

  it('writes plain lines without a terminal', () => {
    const pipe = output(false)
    const view = startView({ output: pipe, state: () => busyTally().state(40_000), color: true, lineMs: 60_000 })
    view.stop()
    view.stop()
    expect(pipe.written).toEqual([`${renderPlainLine(busyTally().state(40_000))}\n`])
    expect(pipe.written.join('')).not.toContain('\u001b')
  })
})
