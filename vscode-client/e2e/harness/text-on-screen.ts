/**
 * Where text of the editor is on the screen, and what text is under a decoration.
 *
 * These functions run in the page: they may use nothing but their arguments. The editor shows a line as
 * `.view-line` with text nodes in it; inlay hints are text nodes too, in elements of their own. Editors are looked
 * for in the whole window, for the cells of a notebook lie over the part that editors are in.
 */

export interface Box {
    x: number;
    y: number;
    width: number;
    height: number;
}

export interface Decoration {
    /** The text that it is drawn under. */
    text: string;
    kind: string;
    box: Box;
}

/** The box of the `count`th occurrence, from 0, of a text within one line of the editors that are shown. */
export function locate([wanted, count]: [string, number]): Box | null {
    let left = count;
    const lines = [...document.querySelectorAll<HTMLElement>('.monaco-editor .view-lines .view-line')];
    lines.sort((one, other) => one.getBoundingClientRect().top - other.getBoundingClientRect().top);
    for (const line of lines) {
        const places: [Text, number][] = [];
        let content = '';
        const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const node = walker.currentNode as Text;
            for (let index = 0; index < node.data.length; index++) places.push([node, index]);
            content += node.data;
        }
        content = content.replaceAll('\u00a0', ' ');
        for (let at = content.indexOf(wanted); at >= 0; at = content.indexOf(wanted, at + 1)) {
            if (left-- > 0) continue;
            const range = document.createRange();
            range.setStart(...places[at]!);
            const [last, index] = places[at + wanted.length - 1]!;
            range.setEnd(last, index + 1);
            const { x, y, width, height } = range.getBoundingClientRect();
            return { x, y, width, height };
        }
    }
    return null;
}

/** The decorations of some classes in the editors that are shown (a notebook has many), from top to bottom, each with the text that it covers. */
export function decorations(classes: string[]): Decoration[] {
    const found: Decoration[] = [];
    for (const name of classes) {
        for (const element of document.querySelectorAll<HTMLElement>(`.monaco-editor .${name}`)) {
            const editor = element.closest('.monaco-editor')!;
            const lines = [...editor.querySelectorAll<HTMLElement>('.view-lines .view-line')];
            const box = element.getBoundingClientRect();
            const middle = box.top + box.height / 2;
            const line = lines.find((each) => {
                const { top, bottom } = each.getBoundingClientRect();
                return top <= middle && middle < bottom;
            });
            let text = '';
            if (line) {
                const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
                const range = document.createRange();
                while (walker.nextNode()) {
                    const node = walker.currentNode as Text;
                    for (let index = 0; index < node.data.length; index++) {
                        range.setStart(node, index);
                        range.setEnd(node, index + 1);
                        const letter = range.getBoundingClientRect();
                        const centre = letter.left + letter.width / 2;
                        if (box.left < centre && centre < box.right) text += node.data[index];
                    }
                }
            }
            const { x, y, width, height } = box;
            found.push({ text: text.replaceAll('\u00a0', ' '), kind: name, box: { x, y, width, height } });
        }
    }
    return found.sort((one, other) => one.box.y - other.box.y || one.box.x - other.box.x);
}
