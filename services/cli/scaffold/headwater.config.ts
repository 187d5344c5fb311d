import { defineConfig } from 'headwater/config'

export default defineConfig({
  features: ['./features/index.ts'],
  dataDirectory: '.headwater',
  server: { port: 50051 },
})
