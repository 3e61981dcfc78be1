import { defineConfig } from 'vite';

export default defineConfig({
  // Works in any folder of a server.
  base: './',
  build: { target: 'es2022' },
  // They find their WebAssembly beside themselves.
  optimizeDeps: { exclude: ['@huggingface/transformers', 'onnxruntime-web'] },
});
