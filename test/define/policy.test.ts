import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { policy } from '../../features/define/index.ts'
import { decide, outcomeOfScore } from '../../features/policy/index.ts'

const outcomes = ['approve', 'review', 'decline'] as const
const basics = { outcomes, thresholds: { review: 0.5, decline: 0.9 }, fallback: 'review' } as const

describe('the outcome of a score', () => {
  const plain = policy('plain', basics)
  it.each([
    [-Infinity, 'approve'],
    [0.4999999999999999, 'approve'],
    [0.5, 'review'],
    [0.8999999999999999, 'review'],
    [0.9, 'decline'],
    [Infinity, 'decline'],
    [null, 'review'],
    [NaN, 'review'],
  ])('%d → %s', (score, outcome) => {
    expect(outcomeOfScore(plain, score)).toBe(outcome)
    expect(decide(plain, {}, score)).toEqual({ outcome, matchedRules: [], failedRules: [], failures: [] })
  })

  it('may skip an outcome', () => {
    const skipping = policy('skipping', { outcomes, thresholds: { decline: 0.9 }, fallback: 'approve' })
    expect([0.8, 0.95, null].map(score => outcomeOfScore(skipping, score))).toEqual(['approve', 'decline', 'approve'])
  })
})

describe('rules', () => {
  it('match on true alone; one that throws or answers otherwise is isolated and reported', () => {
    const p = policy('p', {
      ...basics,
      rules: [
        { name: 'yes', when: () => true, outcome: 'review' },
        { name: 'no', when: () => false, outcome: 'decline' },
        { name: 'unknown', when: () => null, outcome: 'decline' },
        { name: 'throws', when: v => (v.missing?.['x'] as unknown as { y: { z: boolean } }).y.z, outcome: 'decline' },
        {
          name: 'throws_text',
          when: () => {
            throw 'text' as unknown as Error
          },
          outcome: 'decline',
        }, // oxlint-disable-line typescript/only-throw-error -- authors can
        { name: 'truthy', when: () => 1 as unknown as boolean, outcome: 'decline' },
        { name: 'absent', when: () => undefined as unknown as boolean, outcome: 'decline' },
        { name: 'later', when: () => Promise.resolve(true) as unknown as boolean, outcome: 'decline' },
      ],
    })
    const decision = decide(p, {}, 0.1)
    expect(decision.outcome).toBe('review')
    expect(decision.matchedRules).toEqual(['yes'])
    expect(decision.failedRules).toEqual(['throws', 'throws_text', 'truthy', 'absent', 'later'])
    expect(decision.failures[0]?.reason).toContain('undefined')
    expect(decision.failures[2]?.reason).toBe('it answered number, not true, false or null')
  })

  it('see the view that the caller gives', () => {
    const p = policy('p', {
      ...basics,
      rules: [{ name: 'large', when: v => Number(v.request['amount']) > 10, outcome: 'decline' }],
    })
    expect(decide(p, { request: { amount: 11 } }, 0).outcome).toBe('decline')
    expect(decide(p, { request: { amount: 10 } }, 0).outcome).toBe('approve')
  })

  it('never better the outcome: the worst of score and matching rules wins, in any order', () => {
    const answer = fc.constantFrom(true, false, null, 'throw' as const)
    const rule = fc.record({ answer, outcome: fc.constantFrom(...outcomes) })
    const score = fc.oneof(fc.constant(null), fc.double({ min: 0, max: 1, noNaN: true }))
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 8 }), score, (rules, s) => {
        const written = rules.map((each, index) => ({
          name: `r${index}`,
          outcome: each.outcome,
          when: (): boolean | null => {
            if (each.answer === 'throw') throw new Error('failed')
            return each.answer
          },
        }))
        const forwards = decide(policy('p', { ...basics, rules: written }), {}, s)
        const backwards = decide(policy('p', { ...basics, rules: written.toReversed() }), {}, s)
        const candidates = [
          outcomeOfScore(policy('p', basics), s),
          ...rules.filter(r => r.answer === true).map(r => r.outcome),
        ]
        const worst = Math.max(...candidates.map(each => outcomes.indexOf(each as 'approve')))
        expect(forwards.outcome).toBe(outcomes[worst])
        expect(backwards.outcome).toBe(forwards.outcome)
        expect(forwards.matchedRules).toEqual(written.filter((_, i) => rules[i]?.answer === true).map(r => r.name))
        expect(forwards.failedRules).toEqual(written.filter((_, i) => rules[i]?.answer === 'throw').map(r => r.name))
      }),
    )
  })
})
