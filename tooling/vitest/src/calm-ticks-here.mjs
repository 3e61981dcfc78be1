// What `node --import` loads: plain JavaScript, since Node 20 knows no TypeScript.
import { calmTicks } from './calm-ticks.mjs';

globalThis.setImmediate = calmTicks(globalThis.setImmediate);
