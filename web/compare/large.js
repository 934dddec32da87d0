/** The player in a dialog as large as the window. Escape or the button brings it back. */

export class LargeView {
    /** @param {HTMLElement} element what is shown large; it comes back to where it was */
    constructor(element) {
        this.element = element;
        this.dialog = null;
    }

    toggle() {
        if (this.dialog) this.close();
        else this.open();
    }

    open() {
        this.home = this.element.parentElement;
        this.place = document.createComment("SAMA Compare");
        this.element.replaceWith(this.place);
        this.dialog = document.createElement("dialog");
        this.dialog.className = "sama-compare-dialog";
        this.dialog.setAttribute("aria-label", "Comparison");
        this.dialog.append(this.element);
        this.dialog.addEventListener("close", () => this.close());
        document.body.append(this.dialog);
        this.dialog.showModal();
        this.element.querySelector("[tabindex]").focus();
    }

    close() {
        const { dialog, place, home } = this;
        if (!dialog) return;
        this.dialog = this.place = this.home = null;
        if (place.isConnected) place.replaceWith(this.element);
        else home?.replaceChildren(this.element);
        dialog.remove();
        this.element.querySelector("[tabindex]").focus({ preventScroll: true });
    }
}
