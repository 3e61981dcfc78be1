import { quickConformanceInBrowser } from '../support/browser-page.js';

// A sample of what runs in Node, over the same Dawn: webgpu.test.ts.
quickConformanceInBrowser('webgpu', 90);
