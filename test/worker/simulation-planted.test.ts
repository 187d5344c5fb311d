import { describe, expect, it, vi } from 'vitest'
import type * as FeatureLanes from '../../topology/processors/feature-lane.ts'
import { withLaneBugs } from './simulated-bugs.ts'
import { Stuck } from './simulated-scheduler.ts'
import type { Bugs } from './simulation-member.ts'
import { simulate } from './simulation.ts'

vi.mock('../../topology/processors/feature-lane.ts', async original =>
  withLaneBugs(await original<typeof FeatureLanes>()),
)

const MOST_SEEDS = 3_000

/** The first seed that notices, or null. What is damaged may also be noticed by the kernel or the worker. */
async function firstToNotice(bugs: Bugs, most: number): Promise<number | null> {
  for (let seed = 1; seed <= most; seed++) {
    const noticed = await simulate(seed, bugs).then(
      ({ wrong }) => wrong.length > 0,
      (error: unknown) => {
        if (error instanceof RangeError || error instanceof Stuck) return true
        throw error
      },
    )
    if (noticed) return seed
  }
  return null
}

describe('the simulation notices', () => {
  it.each([
    ['no fence', { noFence: true }],
    ['no max-register', { noMaxRegister: true }],
    ['no skip', { noSkip: true }],
    ['skipped sections that are not sent again', { notResent: true }],
    ['a commit before the write', { commitFirst: true }],
    ['a client that sends again, where the fence asks who the server is', { identity: true, resends: true }],
    ['blocks of a refused section that are written', { blocksOfRefused: true }],
    ['blocks of a fenced flush that are written', { blocksOfFenced: true }],
    ['blocks that a section relies on and that need not be stored', { noBase: true }],
    ['a section that is written without its blocks', { tornFlush: true }],
    ['blocks that are taken without a look at the position beside them', { blind: true }],
    ['a cache that is never trimmed', { noTrim: true }],
  ] satisfies readonly (readonly [string, Bugs])[])('%s', { timeout: 200_000 }, async (_name, bugs) => {
    expect(await firstToNotice(bugs, MOST_SEEDS)).not.toBeNull()
  })
})

describe('the simulation finds nothing', () => {
  it('where the fence asks who the server is, and nothing is sent again', { timeout: 200_000 }, async () => {
    expect(await firstToNotice({ identity: true, resends: false }, 400)).toBeNull()
  })
})
