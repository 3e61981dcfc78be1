import { conformanceInBrowser } from './browser-page.js';

conformanceInBrowser('webgpu');
