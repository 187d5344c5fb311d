/**
 * What was started so far, to be stopped in the opposite order: at the end, or when a later step fails. Each step is
 * taken, whether those before it failed or not; then the first failure is thrown.
 */
export interface Unwind {
  add(step: () => unknown): void
  run(): Promise<void>
}

/** Starts with nothing to stop. */
export function createUnwind(): Unwind {
  const steps: (() => unknown)[] = []
  return {
    add: step => void steps.push(step),
    run: async () => {
      const failures: unknown[] = []
      for (const step of steps.toReversed()) {
        try {
          await step()
        } catch (error) {
          failures.push(error)
        }
      }
      if (failures.length > 0) throw failures[0]
    },
  }
}
