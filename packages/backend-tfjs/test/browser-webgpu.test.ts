import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { conformanceInBrowser } from './browser-page.js';

optional(
  'conformance of tfjs on WebGPU in headless Chromium',
  browserAvailability(),
  () => conformanceInBrowser('webgpu'),
  480_000,
);
