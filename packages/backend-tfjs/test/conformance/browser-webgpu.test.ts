import { quickConformanceInBrowser } from '../support/browser-page.js';

// The rest of the suite runs in Node, over the same Dawn: webgpu.test.ts.
quickConformanceInBrowser('webgpu', 200);
