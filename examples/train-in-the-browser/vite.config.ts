import { defineConfig } from 'vite';

export default defineConfig({
  // Works in any folder of a server.
  base: './',
  // The page needs a browser with WebGPU anyway.
  build: { target: 'es2022' },
  worker: { format: 'es' },
});
