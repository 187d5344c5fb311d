import { describe, expect, it } from 'vitest'
import { stopAndClose } from '../../services/process.ts'
import { createUnwind } from '../../topology/runtime/unwind.ts'

describe('stopping what was started', () => {
  it('goes on when a step fails, and then throws the first failure', async () => {
    const { add, run } = createUnwind()
    const done: string[] = []
    add(() => done.push('log'))
    add(() => {
      throw new Error('store')
    })
    add(() => done.push('monitor'))
    add(() => Promise.reject(new Error('consumer')))
    await expect(run()).rejects.toThrow('consumer')
    expect(done).toEqual(['monitor', 'log'])
  })

  it('closes the store of a writer whose last rows it did not take', async () => {
    let closed = 0
    const store = { close: () => Promise.resolve(void (closed += 1)) }
    await expect(stopAndClose({ stop: () => Promise.reject(new Error('away')) }, store)).rejects.toThrow('away')
    expect(closed).toBe(1)
  })
})
