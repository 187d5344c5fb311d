import { expect, it } from 'vitest'
import { headwater } from './headwater.ts'

const FRAUD = ['plan', '--features', 'features/fraud/index.ts']

interface Estimated {
  readonly group: string
  readonly rate: { readonly eventsPerEntityPerDay: number }
  readonly estimate: { readonly bytesPerEntity: number; readonly pointsHeld: number }
}

it('prints what an entity of each group takes, at the rate of the group or at one that is given', async () => {
  const own = await headwater(FRAUD)
  expect(own.code, own.stderr).toBe(0)
  expect(own.stdout).toContain('online state of one entity, for ids of 36 bytes and texts of 12')
  expect(own.stdout).toMatch(/^ {2}card_activity +10 events a day +[\d.]+ KiB per entity +\S+ \w+ written per event/m)
  const given = await headwater([...FRAUD, '--json', '--events-per-day', '200'])
  const { estimates } = JSON.parse(given.stdout) as { readonly estimates: readonly Estimated[] }
  expect(estimates.map(({ group, rate }) => [group, rate.eventsPerEntityPerDay])).toEqual([
    ['card_activity', 200],
    ['merchant_activity', 200],
  ])
  for (const { estimate } of estimates) expect(estimate.bytesPerEntity).toBeGreaterThan(10 * estimate.pointsHeld)
})

it('refuses a rate that is none', async () => {
  for (const rate of ['0', 'many', '-1', '1e3']) {
    const { code, stderr } = await headwater([...FRAUD, '--events-per-day', rate])
    expect(code).not.toBe(0)
    expect(stderr).toContain('must be a number from 0.001 to 86400000')
  }
})
