// Stands in for VS Code's logger, whose native part would need a compiler: without it the logs, those
// of extensions included, stay empty. install.sh puts it in the place of @vscode/spdlog.

'use strict';

const { appendFileSync, mkdirSync } = require('node:fs');
const { dirname } = require('node:path');

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'critical'];

class Logger {
    constructor(kind, name, file) {
        this.file = file;
        this.level = LEVELS.indexOf('info');
        this.bare = false;
        LEVELS.forEach((level, rank) => {
            this[level] = (message) => {
                if (rank < this.level) return;
                const stamp = this.bare ? '' : `${new Date().toISOString()} [${level}] `;
                appendFileSync(this.file, `${stamp}${message}${this.bare ? '' : '\n'}`);
            };
        });
    }
    getLevel() {
        return this.level;
    }
    setLevel(level) {
        this.level = level;
    }
    clearFormatters() {
        this.bare = true;
    }
    setPattern() {}
    flush() {}
    drop() {}
}

async function create(name, file) {
    mkdirSync(dirname(file), { recursive: true });
    return new Logger('rotating', name, file);
}

// One by one: that is how an `import` of this file finds them.
exports.version = 0;
exports.setLevel = () => {};
exports.setFlushOn = () => {};
exports.Logger = Logger;
exports.createRotatingLogger = create;
exports.createAsyncRotatingLogger = create;
