import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/servers-setup.ts'],
    // Native add-ons (chdb, onnxruntime) and node:sqlite live in processes of their own; two fit the smallest machine.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 30_000,
    sequence: { hooks: 'stack' },
  },
})
