import { quickConformanceInBrowser } from './browser-page.js';

// The rest of the suite runs in Node, over the same Dawn: conformance-webgpu.test.ts.
quickConformanceInBrowser('webgpu', 200);
